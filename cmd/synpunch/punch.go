package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/punch"
)

// punchFlags are the words of the punch command as they were typed.
type punchFlags struct {
	local, remote, at    string
	remotePorts          string
	learnPort            bool
	engine, strategy     string
	ttl, mss, wscale     int
	retries              int
	timeout              time.Duration
	isn                  string
	noTimestamps, noSACK bool
	iface                string
	capture, report      string
	cpu                  int
	rt, early            bool
	unix                 string
	fan                  fanFlags
}

func newPunchCommand() *cobra.Command {
	var f punchFlags
	cmd := &cobra.Command{
		Use:   "punch --remote IP:PORT [--local IP:PORT] [--at TIME] [flags] [-- CMD ARGS...]",
		Short: "Open one connection to a peer that punches at the same instant",
		Long: `Send a SYN at the instant, let it cross the peer's, and use the connection.

Both ends run this command with each other's public endpoint and the same --at.
Without CMD, standard input and output are joined to the connection, as nc
does: the end of the input closes our direction, and the command ends when the
peer has closed its own. With CMD the command runs with the connection as its
descriptors 0 and 1, and 3 with LISTEN_FDS=1 (sd_listen_fds(3)).

Where the peer's port is not certain, --remote-ports lists what it may be and
--learn-port takes the one that the peer's SYN comes from. One flow wins, the
same at both ends. The ports of 'synpunch predict' are in the right order:
docs/engines.md has the pipe.

Where nobody can tell the ports, --strategy fan sends many SYNs and takes the
flow that works: --remote IP:LO-HI names the ports that the peer may have. It is
slow and sparing by default; read docs/responsible.md before you change that.

TIME is RFC 3339 with up to nanoseconds (2026-01-01T12:00:00.5Z) or Unix
nanoseconds; without it the SYN leaves as soon as everything is ready.`,
		Example: `  synpunch punch --local :40000 --remote 203.0.113.7:40000 --at 2026-01-01T12:00:00Z
  synpunch punch --local :40000 --remote 203.0.113.7:40000 --report punch.json < file
  synpunch punch --local :40000 --remote 203.0.113.7:40000 --learn-port
  synpunch punch --local :40000 --remote 203.0.113.7 --remote-ports 50001,50002,50010-50019
  synpunch punch --strategy fan --remote 203.0.113.7:1024-65535 --budget 1024 --peer-ports 1
  synpunch punch --local :0 --remote '[2001:db8::7]:22' --capture punch.pcapng -- /usr/sbin/sshd -i`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usagef("unexpected %q: a command to run stands behind --", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			plan, err := f.plan(cmd)
			if err != nil {
				return exitWith(exitUsage, err)
			}
			if f.unix != "" && len(args) > 0 {
				return usagef("--unix and a command exclude each other")
			}
			return runPunch(cmd, &f, plan, args)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.local, "local", ":0", "local `IP:PORT`; :PORT takes the address of the route, port 0 a free port")
	fl.StringVar(&f.remote, "remote", "", "the peer's public `IP:PORT`; with --remote-ports IP alone will do")
	fl.StringVar(&f.remotePorts, "remote-ports", "", "ports that the peer may have, best first, as `P1,P2,LO-HI` or @FILE: a SYN to each, one wins (engine repair)")
	fl.BoolVar(&f.learnPort, "learn-port", false, "take a SYN from another port of the peer's address for the peer's (engine repair)")
	fl.StringVar(&f.at, "at", "", "send the SYN at this `TIME` (default: as soon as ready)")
	fl.StringVar(&f.engine, "engine", "auto", "auto, repair, park or connect")
	fl.StringVar(&f.strategy, "strategy", "cross", "cross; prime: first a low-TTL SYN that opens our own NAT; or fan: many SYNs, one winner")
	fl.IntVar(&f.ttl, "ttl", 0, "TTL of the SYN (cross, default 64) or of the priming SYN (prime and fan, default 2)")
	fl.IntVar(&f.retries, "retries", -1, "SYNs sent again after an RST or ICMP error (default 64, engine connect 0)")
	fl.DurationVar(&f.timeout, "timeout", punch.DefaultTimeout, "give up this long after the instant (the default of fan is longer by what its SYNs take)")
	fl.StringVar(&f.isn, "isn", "", "initial sequence number, decimal or 0x (engine repair; default RFC 6528)")
	fl.IntVar(&f.mss, "mss", 0, "maximum segment size to offer (engine repair; default from the route)")
	fl.IntVar(&f.wscale, "wscale", -1, "window scale to offer, 0 to 14 (engine repair; default as the kernel's)")
	fl.BoolVar(&f.noTimestamps, "no-timestamps", false, "do not offer TCP timestamps (engine repair)")
	fl.BoolVar(&f.noSACK, "no-sack", false, "do not offer SACK (engine repair)")
	fl.StringVar(&f.iface, "interface", "", "network `interface` (default: the route's)")
	fl.StringVar(&f.capture, "capture", "", "write the flow's packets to this `FILE`.pcapng")
	fl.StringVar(&f.report, "report", "", "write the report (JSON) to this `FILE`; - is standard error")
	fl.IntVar(&f.cpu, "cpu", -1, "pin the sending thread to this processor")
	fl.BoolVar(&f.rt, "rt", false, "SCHED_FIFO until the SYN has left (CAP_SYS_NICE)")
	fl.BoolVar(&f.early, "early", false, "hand off in SYN-RECEIVED, right after our SYN-ACK (engine repair)")
	fl.StringVar(&f.unix, "unix", "", "pass the socket to the first that connects to this `PATH` (SCM_RIGHTS)")
	f.fan.register(fl)
	cmd.MarkFlagFilename("capture", "pcapng")
	cmd.MarkFlagFilename("report", "json")
	cmd.RegisterFlagCompletionFunc("engine", fixed("auto", "repair", "park", "connect"))
	cmd.RegisterFlagCompletionFunc("strategy", fixed("cross", "prime", "fan"))
	cmd.RegisterFlagCompletionFunc("prime", fixed("auto", "always", "never"))
	return cmd
}

// fixed completes a flag with its possible values.
func fixed(values ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}

// plan turns the words into a plan; every error is one of usage.
func (f *punchFlags) plan(cmd *cobra.Command) (punch.Plan, error) {
	var p punch.Plan
	var err error
	if f.remote == "" {
		return p, errors.New("--remote is needed: the peer's public endpoint, such as 203.0.113.7:40000")
	}
	if p.Strategy, err = punch.ParseStrategy(f.strategy); err != nil {
		return p, fmt.Errorf("--strategy: %w", err)
	}
	if p.RemotePorts, err = parsePorts(f.remotePorts, p.Strategy); err != nil {
		return p, fmt.Errorf("--remote-ports: %w", err)
	}
	p.LearnPort = f.learnPort
	if p.Remote, err = parseRemotes(f.remote, &p); err != nil {
		return p, fmt.Errorf("--remote: %w", err)
	}
	if p.Local, err = parseLocal(f.local, p.Remote.Addr()); err != nil {
		return p, fmt.Errorf("--local: %w", err)
	}
	if p.At, err = parseInstant(f.at); err != nil {
		return p, fmt.Errorf("--at: %w", err)
	}
	if p.Engine, err = punch.ParseEngine(f.engine); err != nil {
		return p, fmt.Errorf("--engine: %w", err)
	}
	if f.ttl < 0 || f.ttl > 255 || (f.ttl == 0 && cmd.Flags().Changed("ttl")) {
		return p, fmt.Errorf("--ttl %d: want 1 to 255", f.ttl)
	}
	p.TTL = uint8(f.ttl)
	switch {
	case !cmd.Flags().Changed("retries"):
	case f.retries < 0:
		return p, fmt.Errorf("--retries %d: want 0 or more", f.retries)
	case f.retries == 0:
		p.Retries = -1
	default:
		p.Retries = f.retries
	}
	if f.timeout <= 0 {
		return p, fmt.Errorf("--timeout %v: want more than 0", f.timeout)
	}
	if p.Strategy != punch.Fan || cmd.Flags().Changed("timeout") {
		p.Timeout = f.timeout
	}
	if err := f.fan.plan(cmd.Flags(), &p); err != nil {
		return p, err
	}
	if f.isn != "" {
		isn, err := strconv.ParseUint(f.isn, 0, 32)
		if err != nil {
			return p, fmt.Errorf("--isn %q: want a number from 0 to 4294967295, decimal or 0x", f.isn)
		}
		v := uint32(isn)
		p.ISN = &v
	}
	if cmd.Flags().Changed("mss") {
		if f.mss < 64 || f.mss > 65495 {
			return p, fmt.Errorf("--mss %d: want 64 to 65495", f.mss)
		}
		p.MSS = uint16(f.mss)
	}
	if cmd.Flags().Changed("wscale") {
		if f.wscale < 0 || f.wscale > 14 {
			return p, fmt.Errorf("--wscale %d: RFC 7323 allows 0 to 14", f.wscale)
		}
		v := uint8(f.wscale)
		p.WScale = &v
	}
	if cmd.Flags().Changed("cpu") {
		p.CPU = &f.cpu
	}
	p.NoTimestamps, p.NoSACK, p.Early = f.noTimestamps, f.noSACK, f.early
	p.Interface, p.Realtime = f.iface, f.rt
	return p, p.Validate()
}

// parseEndpoint reads IP:PORT with words that say what is wrong.
func parseEndpoint(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	if err == nil {
		return ap, nil
	}
	if host, _, serr := net.SplitHostPort(s); serr == nil && host != "" {
		if _, aerr := netip.ParseAddr(host); aerr != nil {
			return ap, fmt.Errorf("%q: %q is not an IP address; names are not looked up, since both ends must agree on the address", s, host)
		}
	}
	return ap, fmt.Errorf("%q is not IP:PORT; IPv6 is written [2001:db8::7]:40000", s)
}

// parseLocal reads IP:PORT or :PORT.
func parseLocal(s string, remote netip.Addr) (netip.AddrPort, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q: want a port from 0 to 65535", s)
		}
		any := netip.IPv4Unspecified()
		if remote.Is6() {
			any = netip.IPv6Unspecified()
		}
		return netip.AddrPortFrom(any, uint16(n)), nil
	}
	return parseEndpoint(s)
}

// parseInstant reads RFC 3339 or Unix nanoseconds; "" is no instant.
func parseInstant(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if ns, err := strconv.ParseInt(s, 10, 64); err == nil {
		if ns < 1e18 {
			return time.Time{}, fmt.Errorf("%q: Unix nanoseconds of our days have 19 digits; 'date +%%s%%N' prints them", s)
		}
		return time.Unix(0, ns), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither RFC 3339 (2026-01-01T12:00:00.5Z) nor Unix nanoseconds", s)
	}
	return t, nil
}

// runPunch makes the attempt and uses the connection.
func runPunch(cmd *cobra.Command, f *punchFlags, plan punch.Plan, argv []string) (err error) {
	ctx := cmd.Context()
	if len(argv) > 0 {
		if _, err := exec.LookPath(argv[0]); err != nil {
			return exitWith(exitUsage, err)
		}
	}
	plan, err = plan.Resolve()
	if err != nil {
		return planExit(err)
	}
	if want, _ := netip.ParseAddrPort(f.local); want.Port() == 0 && strings.HasSuffix(f.local, ":0") {
		fmt.Fprintf(cmd.ErrOrStderr(), "local endpoint %v\n", plan.Local)
	}
	if f.capture != "" {
		rec, err := punch.Record(plan, f.capture)
		if err != nil {
			return planExit(err)
		}
		defer func() {
			if cerr := rec.Close(); err == nil && cerr != nil {
				err = cerr
			}
		}()
	}
	if plan.Strategy == punch.Fan {
		plan.FanOut.Progress = fanProgress(cmd.ErrOrStderr())
	}
	conn, attempt, err := punch.Do(ctx, plan)
	endProgress(cmd.ErrOrStderr(), &plan)
	if err != nil {
		return failedPunch(cmd, f, attempt, err)
	}
	var used usage
	switch {
	case len(argv) > 0:
		used, err = runChild(cmd, conn, argv)
	case f.unix != "":
		used = async(func() error {
			return handoff.ServeUnix(ctx, conn, f.unix, func() {
				fmt.Fprintf(cmd.ErrOrStderr(), "the socket waits at %s\n", f.unix)
			})
		})
	default:
		transfer := &punch.TransferStats{}
		used = async(func() (err error) {
			transfer.Sent, transfer.Received, err = handoff.Join(ctx, conn, cmd.InOrStdin(), cmd.OutOrStdout())
			return err
		})
		defer func() { // once more, with what went over the connection
			attempt.Report().Transfer = transfer
			err = errors.Join(err, writeReport(cmd, f.report, attempt.Report()))
		}()
	}
	if err != nil {
		return exitWith(exitFailed, err)
	}
	// The connection is in use by now; the report does not hold it up.
	tellReport(cmd, attempt.Report())
	if joined := len(argv) == 0 && f.unix == ""; !joined || f.report != "-" {
		err = writeReport(cmd, f.report, attempt.Report())
	}
	return errors.Join(<-used, err)
}

// usage is the end of what is done with the connection.
type usage <-chan error

func async(f func() error) usage {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// failedPunch says what happened when there is no connection.
func failedPunch(cmd *cobra.Command, f *punchFlags, attempt *punch.Attempt, err error) error {
	if attempt == nil {
		return planExit(err)
	}
	if werr := writeReport(cmd, f.report, attempt.Report()); werr != nil {
		return werr
	}
	if !errorsIsAttempt(err) {
		return planExit(err)
	}
	tellReport(cmd, attempt.Report())
	return exitWith(exitFailed, nil)
}

// tellReport prints the report's summary and notes for a person.
func tellReport(cmd *cobra.Command, r *punch.Report) {
	fmt.Fprintln(cmd.ErrOrStderr(), r.Summary())
	for _, n := range r.Notes {
		fmt.Fprintln(cmd.ErrOrStderr(), "note:", n)
	}
}

// errorsIsAttempt reports whether the attempt itself failed, as opposed to its plan or its means.
func errorsIsAttempt(err error) bool {
	return errors.Is(err, punch.ErrRefused) || errors.Is(err, punch.ErrUnreachable) || errors.Is(err, punch.ErrTimeout) || errors.Is(err, punch.ErrExhausted)
}

// planExit gives an error of the plan or of the machine its exit code.
func planExit(err error) error {
	switch {
	case errors.Is(err, punch.ErrPlan):
		return exitWith(exitUsage, err)
	case errors.Is(err, punch.ErrMissing), errors.Is(err, errors.ErrUnsupported), errors.Is(err, os.ErrPermission):
		return exitWith(exitMissing, fmt.Errorf("%w\nRun 'synpunch doctor' to see what this machine can do", err))
	}
	return exitWith(exitFailed, err)
}

func writeReport(cmd *cobra.Command, path string, r *punch.Report) error {
	switch path {
	case "":
		return nil
	case "-":
		return r.JSON(cmd.ErrOrStderr())
	}
	return r.WriteFile(path)
}

// runChild gives the connection to a command, which ends this one with its exit code.
func runChild(cmd *cobra.Command, conn *net.TCPConn, argv []string) (usage, error) {
	child, err := handoff.Exec(conn, argv, nil)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(cmd.Context(), func() { child.Process.Signal(os.Interrupt) })
	return async(func() error {
		defer stop()
		err := child.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exitWith(max(exit.ExitCode(), exitFailed), nil)
		}
		return err
	}), nil
}
