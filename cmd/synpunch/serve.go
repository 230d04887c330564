package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/rendezvous/ntp"
	"github.com/synpunch/synpunch/rendezvous/stun"
)

// The first line of serve --json, docs/serve.md.
const (
	serveFormat  = "synpunch/serve"
	serveVersion = 1
)

// highNTP is the port for those who may not have 123.
const highNTP = 1123

type serveFlags struct {
	stun, ntp      []string
	altPort        int
	noSTUN, noNTP  bool
	ntpStratum     int
	rate           float64
	conns, perHost int
	http           string
	log            string
	json           bool
}

func newServeCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Be the third party that two peers need: public endpoint and time",
		Long: `Serve STUN (RFC 8489, with what RFC 5780 needs to find out how a NAT behaves)
over UDP and TCP, and NTP (RFC 5905), to synpunch and to any other client of
these protocols. Nothing has to be configured: it listens on all addresses,
STUN on ports 3478 and 3479, NTP on 123, or on 1123 where 123 may not be had.

Peers that ask the same server for the time need not trust its clock: what
counts is that it is the same. A clock that nobody keeps is served as not
synchronised, which synpunch takes and other NTP clients refuse.

It runs until Ctrl-C or SIGTERM, needs no privilege but the port 123
(CAP_NET_BIND_SERVICE), and keeps nothing on disk. docs/serve.md has the
limits, the metrics and a systemd unit.`,
		Example: `  synpunch serve
  synpunch serve --http 127.0.0.1:9478 --log json
  synpunch serve --stun 203.0.113.1,203.0.113.2 --no-ntp     two addresses, as RFC 5780 wants`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.stun, "stun", []string{fmt.Sprintf(":%d", stun.DefaultPort)}, "`ADDR` to serve STUN on, UDP and TCP: :PORT, IP or IP:PORT; two IPs are each other's second address")
	fl.IntVar(&f.altPort, "stun-alt-port", 0, "second `PORT` of STUN (default: the one after the first)")
	fl.BoolVar(&f.noSTUN, "no-stun", false, "no STUN")
	fl.StringSliceVar(&f.ntp, "ntp", []string{fmt.Sprintf(":%d", ntp.DefaultPort)}, "`ADDR` to serve NTP on: :PORT, IP or IP:PORT")
	fl.IntVar(&f.ntpStratum, "ntp-stratum", 0, "stratum to claim, 1 to 15, even when nobody keeps the clock (default: 10 while somebody does)")
	fl.BoolVar(&f.noNTP, "no-ntp", false, "no NTP")
	fl.Float64Var(&f.rate, "rate", 0, "answers a second that each client gets from each service on end; -1: no limit (default: STUN 50, NTP 20)")
	fl.IntVar(&f.conns, "conns", 4096, "TCP connections at once")
	fl.IntVar(&f.perHost, "conns-per-client", 64, "TCP connections at once of each client")
	fl.StringVar(&f.http, "http", "", "`ADDR` for metrics (/metrics, Prometheus) and health (/health), such as 127.0.0.1:9478 (default: none)")
	fl.StringVar(&f.log, "log", "text", "form of the log on standard error: text or json")
	fl.BoolVar(&f.json, "json", false, "say in one line of JSON where it listens (docs/serve.md)")
	cmd.RegisterFlagCompletionFunc("log", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// serveResult is the first line of serve --json.
type serveResult struct {
	Format  string     `json:"format"`
	Version int        `json:"version"`
	STUN    *serveSTUN `json:"stun"` // null: not served
	NTP     *serveNTP  `json:"ntp"`
	HTTP    *string    `json:"http"`
	Notes   []string   `json:"notes"`
}

type serveSTUN struct {
	Listen []netip.AddrPort `json:"listen"` // UDP and TCP
}

type serveNTP struct {
	Listen       []netip.AddrPort `json:"listen"`
	Synchronised bool             `json:"synchronised"`
	Stratum      uint8            `json:"stratum"`
	DispersionNs int64            `json:"root_dispersion_ns"`
}

// services are what one serve process runs.
type services struct {
	log   *slog.Logger
	stun  *stun.Server
	ntp   *ntp.Server
	web   *webServer
	notes []string
}

func runServe(cmd *cobra.Command, f *serveFlags) error {
	log, err := f.logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	s := &services{log: log}
	defer s.close()
	if err := s.listen(f); err != nil {
		return err
	}
	res := s.result()
	if f.json {
		err = json.NewEncoder(cmd.OutOrStdout()).Encode(res)
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), res.text())
	}
	if err != nil {
		return err
	}
	return s.run(cmd.Context())
}

func (f *serveFlags) logger(w io.Writer) (*slog.Logger, error) {
	switch f.log {
	case "text":
		return slog.New(slog.NewTextHandler(w, nil)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil)), nil
	}
	return nil, usagef("--log %q: want text or json", f.log)
}

func (f *serveFlags) check() error {
	switch {
	case f.noSTUN && f.noNTP:
		return usagef("--no-stun and --no-ntp together leave nothing to serve")
	case f.altPort < 0 || f.altPort > 65535:
		return usagef("--stun-alt-port %d: want a port from 1 to 65535", f.altPort)
	case f.ntpStratum < 0 || f.ntpStratum > 15:
		return usagef("--ntp-stratum %d: want 1 to 15", f.ntpStratum)
	case f.rate != 0 && f.rate != -1 && !(f.rate >= 0.001 && f.rate <= 1e6):
		return usagef("--rate %v: want 0.001 to 1000000, or -1 for no limit", f.rate)
	case f.conns < 1 || f.perHost < 1:
		return usagef("--conns and --conns-per-client: want 1 or more")
	}
	return nil
}

// spareDescriptors are for sockets that listen, HTTP and the runtime.
const spareDescriptors = 100

// burst is what a client may have at once where a rate was set: two seconds of it.
func (f *serveFlags) burst() int { return max(int(2*f.rate), 0) }

func (s *services) listen(f *serveFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if !f.noSTUN {
		at, err := listenOn("--stun", f.stun, stun.DefaultPort)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(at, func(ap netip.AddrPort) bool { return ap.Port() != at[0].Port() }) {
			return usagef("--stun: all addresses must have the same port")
		}
		conns := f.conns
		if most := descriptorLimit(); most > 0 && most < uint64(conns)+spareDescriptors {
			conns = max(1, int(most)-spareDescriptors)
			s.notes = append(s.notes, fmt.Sprintf("at most %d TCP connections: the limit on open files is %d (ulimit -n)", conns, most))
		}
		s.stun, err = stun.Listen(&stun.ServerConfig{
			Listen: at, AltPort: uint16(f.altPort), Rate: f.rate, Burst: f.burst(),
			Conns: conns, ConnsPerClient: f.perHost, Log: s.log.With("service", "stun"),
		})
		if err != nil {
			return advise(err, "--stun")
		}
	}
	if !f.noNTP {
		if err := s.listenNTP(f); err != nil {
			return err
		}
	}
	if f.http != "" {
		at, err := listenOn("--http", []string{f.http}, 0)
		if err != nil {
			return err
		}
		if at[0].Port() == 0 && !strings.HasSuffix(f.http, ":0") {
			return usagef("--http %q: want IP:PORT", f.http)
		}
		if s.web, err = listenWeb(f.http, s); err != nil {
			return advise(err, "--http")
		}
	}
	return nil
}

func (s *services) listenNTP(f *serveFlags) error {
	at, err := listenOn("--ntp", f.ntp, ntp.DefaultPort)
	if err != nil {
		return err
	}
	cfg := &ntp.ServerConfig{Listen: at, Stratum: uint8(f.ntpStratum), Rate: f.rate, Burst: f.burst(), Log: s.log.With("service", "ntp")}
	s.ntp, err = ntp.Listen(cfg)
	usual := slices.Equal(f.ntp, []string{fmt.Sprintf(":%d", ntp.DefaultPort)})
	if err == nil || !usual || !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EADDRINUSE) {
		return advise(err, "--ntp")
	}
	why := "another program, probably this host's own NTP server, has port 123"
	if errors.Is(err, syscall.EACCES) {
		why = "port 123 needs CAP_NET_BIND_SERVICE"
	}
	for i := range at {
		cfg.Listen[i] = netip.AddrPortFrom(at[i].Addr(), highNTP)
	}
	if s.ntp, err = ntp.Listen(cfg); err != nil {
		return advise(err, "--ntp")
	}
	s.notes = append(s.notes, fmt.Sprintf("NTP is on port %d: %s", highNTP, why))
	return nil
}

// advise says what to do about an address that cannot be had.
func advise(err error, flag string) error {
	switch {
	case errors.Is(err, syscall.EACCES):
		return exitWith(exitMissing, fmt.Errorf("%w\nports below 1024 need CAP_NET_BIND_SERVICE: sudo setcap cap_net_bind_service+ep %s, or choose another port with %s :PORT", err, executable(), flag))
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w\nanother program has the port; choose another one with %s :PORT", err, flag)
	}
	return err
}

func executable() string {
	if path, err := os.Executable(); err == nil {
		return path
	}
	return "synpunch"
}

func (s *services) close() {
	if s.stun != nil {
		s.stun.Close()
	}
	if s.ntp != nil {
		s.ntp.Close()
	}
	if s.web != nil {
		s.web.close()
	}
}

// run serves until ctx ends, which is no error, or a service breaks.
func (s *services) run(ctx context.Context) error {
	start := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	serve := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err)
			}
		})
	}
	if s.stun != nil {
		serve(s.stun.Serve)
	}
	if s.ntp != nil {
		serve(s.ntp.Serve)
	}
	if s.web != nil {
		serve(s.web.serve)
	}
	wg.Wait()
	attrs := []any{"after", time.Since(start).Round(time.Millisecond)}
	if s.stun != nil {
		st := s.stun.Stats()
		attrs = append(attrs, "stun_udp", st.UDP, "stun_tcp", st.TCP, "stun_limited", st.Limited, "stun_malformed", st.Malformed)
	}
	if s.ntp != nil {
		attrs = append(attrs, "ntp", s.ntp.Stats().Answered)
	}
	s.log.Info("stopped", attrs...)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (s *services) result() *serveResult {
	res := &serveResult{Format: serveFormat, Version: serveVersion, Notes: append([]string{}, s.notes...)}
	if s.stun != nil {
		res.STUN = &serveSTUN{s.stun.Addrs()}
	}
	if s.ntp != nil {
		st := s.ntp.State()
		res.NTP = &serveNTP{s.ntp.Addrs(), st.Synchronised, st.Stratum, st.Dispersion.Nanoseconds()}
		if !st.Synchronised {
			res.Notes = append(res.Notes, "nobody keeps this host's clock: NTP says 'not synchronised', which is good enough for peers that both ask here")
		}
	}
	if s.web != nil {
		res.HTTP = new("http://" + s.web.addr().String())
	}
	return res
}

func (r *serveResult) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	host := "HOST"
	if a := reachable(); a.IsValid() {
		host = a.String()
	}
	at := func(listen []netip.AddrPort, usual uint16) string {
		h := host
		if a := listen[0].Addr(); !a.IsUnspecified() {
			h = a.String()
		}
		if p := listen[0].Port(); p != usual {
			return net.JoinHostPort(h, fmt.Sprint(p))
		}
		return h
	}
	if r.STUN != nil {
		line("STUN  UDP and TCP  %s", joined(r.STUN.Listen))
	}
	if r.NTP != nil {
		line("NTP   UDP          %s", joined(r.NTP.Listen))
	}
	if r.HTTP != nil {
		line("HTTP               %s/metrics and /health", *r.HTTP)
	}
	for _, n := range r.Notes {
		line("note: %s", n)
	}
	line("")
	line("on each of two peers:")
	if r.STUN != nil {
		line("  synpunch endpoint --stun %s --local :40000", at(r.STUN.Listen, stun.DefaultPort))
	}
	if r.NTP != nil {
		line("  synpunch clock --ntp %s", at(r.NTP.Listen, ntp.DefaultPort))
	}
	return b.String()
}

func joined(list []netip.AddrPort) string {
	var words []string
	for _, ap := range list {
		words = append(words, ap.String())
	}
	return strings.Join(words, ", ")
}
