// Command judge reads a SPIFFE Workload API with the reference client, go-spiffe,
// and prints what that client made of it: one JSON line for each update or error.
//
//	judge x509 --socket unix:///run/spire/agent.sock --timeout 10s --count 2
//
// It exits 0 after --count updates, 1 on an error or when the time is over, 64 on a wrong command line.
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

// options of the subcommand x509.
type options struct {
	socket  string
	timeout time.Duration
	count   int
	retry   bool
}

func main() {
	if len(os.Args) < 2 || os.Args[1] != "x509" {
		fmt.Fprintln(os.Stderr, "usage: judge x509 --socket unix:///PATH [--timeout 10s] [--count 1] [--retry]")
		os.Exit(exitUsage)
	}
	opts, err := parse(os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
	if !watch(context.Background(), opts, json.NewEncoder(os.Stdout)) {
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("judge x509", flag.ContinueOnError)
	flags.StringVar(&o.socket, "socket", "", "address of the Workload API, unix:///PATH")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "give up after this time")
	flags.IntVar(&o.count, "count", 1, "end after so many updates")
	flags.BoolVar(&o.retry, "retry", false, "go on after an error, as a long-lived workload does")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.socket == "" || o.count < 1 || o.timeout <= 0 || flags.NArg() > 0 {
		return o, fmt.Errorf("cannot read the command line: --socket is needed, --count and --timeout are above zero, nothing follows")
	}
	return o, nil
}
