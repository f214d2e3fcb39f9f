// Command judge reads a SPIFFE Workload API with the reference client, go-spiffe,
// and prints what that client made of it: one JSON line for each update or error.
//
//	judge x509 --socket unix:///run/spire/agent.sock --timeout 10s --count 2
//	judge jwt  --socket unix:///run/spire/agent.sock --timeout 10s --audience kubernetes [--id spiffe://…]
//
// It exits 0 after --count updates, or with the JWT-SVIDs; 1 on an error or when the time is over, 64 on a wrong command line.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

const exitUsage = 64

// options of the subcommands: count and retry of x509, audience and id of jwt.
type options struct {
	socket   string
	timeout  time.Duration
	count    int
	retry    bool
	audience string
	id       string
}

func main() {
	judges := map[string]func(context.Context, options, *json.Encoder) bool{"x509": watch, "jwt": judgeTokens}
	if len(os.Args) < 2 || judges[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: judge x509 --socket unix:///PATH [--timeout 10s] [--count 1] [--retry]")
		fmt.Fprintln(os.Stderr, "       judge jwt --socket unix:///PATH [--timeout 10s] --audience A [--id ID]")
		os.Exit(exitUsage)
	}
	opts, err := parse(os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
	if !judges[os.Args[1]](context.Background(), opts, json.NewEncoder(os.Stdout)) {
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("judge", flag.ContinueOnError)
	flags.StringVar(&o.socket, "socket", "", "address of the Workload API, unix:///PATH")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "give up after this time")
	flags.IntVar(&o.count, "count", 1, "end after so many updates")
	flags.BoolVar(&o.retry, "retry", false, "go on after an error, as a long-lived workload does")
	flags.StringVar(&o.audience, "audience", "", "whom the JWT-SVID is for")
	flags.StringVar(&o.id, "id", "", "the SPIFFE ID that is wanted; all of the caller's without it")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.socket == "" || o.count < 1 || o.timeout <= 0 || flags.NArg() > 0 {
		return o, fmt.Errorf("cannot read the command line: --socket is needed, --count and --timeout are above zero, nothing follows")
	}
	return o, nil
}
