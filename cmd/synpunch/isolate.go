package main

import (
	"context"
	"fmt"
	"os"

	"github.com/synpunch/synpunch/internal/netns"
)

// isolate runs this command line again in namespaces of its own. Its signals are
// passed on. The end of ctx is not: it comes from one of them, and the process inside
// would take it for a second Ctrl-C, which ends it at once.
func isolate(ctx context.Context) error {
	code, err := netns.RunIsolated(context.WithoutCancel(ctx), os.Args[1:])
	if err != nil {
		return exitWith(exitMissing, fmt.Errorf("%w\nRun 'synpunch doctor' to see what this machine can do", err))
	}
	if code != exitDone {
		return exitWith(code, nil)
	}
	return nil
}
