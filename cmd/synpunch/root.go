package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Exit codes; every command keeps to them and the manual names them.
const (
	exitDone    = 0 // the result is on standard output
	exitFailed  = 1 // the attempt failed
	exitUsage   = 2 // the command line is wrong
	exitMissing = 3 // a capability or a kernel feature is missing
)

// exitError carries the exit code of a command's error.
type exitError struct {
	code int
	err  error // nil when all there is to say has been said
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usagef is an error of the command line: exit code 2.
func usagef(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// exitWith ends a command with code; err may be nil.
func exitWith(code int, err error) error { return &exitError{code, err} }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	code := exitFailed
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), err)
	if code == exitUsage {
		fmt.Fprintf(stderr, "Run '%s --help' for an example.\n", cmd.CommandPath())
	}
	return code
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "synpunch",
		Short: "Open a TCP connection through two NATs by letting two SYNs cross",
		Long: `synpunch opens a TCP connection between two hosts behind NATs by letting
their SYNs cross on the wire (RFC 9293, section 3.5, simultaneous open). It
crafts each SYN, sends it at a chosen instant, watches the handshake with
kernel timestamps, and gives the flow to an ordinary kernel socket.`,
		Example: `  synpunch demo                    two hosts, two NATs, one punch: no root needed
  synpunch doctor                  what this machine can do, and how to grant the rest
  synpunch punch --local :40000 --remote 203.0.113.7:40000 --at 2026-01-01T12:00:00Z
  synpunch analyze capture.pcapng`,
		Version:           version(),
		Args:              usageArgs(cobra.NoArgs),
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return exitWith(exitUsage, err) })
	root.AddCommand(newDemoCommand(), newPunchCommand(), newConsentCommand(), newDoctorCommand(), newAnalyzeCommand(), newPredictCommand(), newSimCommand(), newMatrixCommand(), newOddsCommand(), newSweepCommand(), newLabCommand(), newReportCommand(), newServeCommand(), newEndpointCommand(), newClockCommand(), newStockPeerCommand())
	return root
}

// usageArgs makes a complaint about positional arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return exitWith(exitUsage, err)
		}
		return nil
	}
}

// version is the module's version as the Go toolchain recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
