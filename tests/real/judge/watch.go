package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watcher prints what it is told, and ends the watch when that is enough.
// go-spiffe calls it from one goroutine only, the one that is in WatchX509Context.
type watcher struct {
	out   *json.Encoder
	left  int  // updates still wanted
	retry bool // an error is not the end
	told  bool // an error was printed
	over  func() bool
	end   context.CancelFunc
}

// watch reports whether the wanted number of updates came.
func watch(ctx context.Context, o options, out *json.Encoder) bool {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	over := func() bool { return ctx.Err() != nil }
	w := &watcher{out: out, left: o.count, retry: o.retry, over: over, end: cancel}
	err := workloadapi.WatchX509Context(ctx, w, workloadapi.WithAddr(o.socket))
	switch {
	case w.left == 0:
		return true
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		w.report(codes.DeadlineExceeded, "the time is over")
	case !w.told: // the client refused before it asked anything
		w.report(status.Code(err), err.Error())
	}
	return false
}

func (w *watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	if w.over() {
		return
	}
	w.print(describe(update))
	w.left--
	if w.left == 0 {
		w.end()
	}
}

func (w *watcher) OnX509ContextWatchError(err error) {
	if w.over() { // an end that we made ourselves
		return
	}
	w.told = true
	w.report(status.Code(err), err.Error())
	if !w.retry {
		w.end()
	}
}

func (w *watcher) report(code codes.Code, message string) {
	w.print(failure{Error: code.String(), Message: message})
}

func (w *watcher) print(line any) {
	if err := w.out.Encode(line); err != nil {
		panic(err) // standard output is gone: nobody is left to judge for
	}
}
