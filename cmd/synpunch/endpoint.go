package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/synpunch/synpunch/rendezvous/stun"
)

// The object that endpoint --json prints, docs/serve.md.
const (
	endpointFormat  = "synpunch/endpoint"
	endpointVersion = 1
)

type endpointFlags struct {
	stun     []string
	local    string
	tcp, udp bool
	ip       ipFlags
	timeout  time.Duration
	hold     time.Duration
	json     bool
}

func newEndpointCommand() *cobra.Command {
	var f endpointFlags
	cmd := &cobra.Command{
		Use:   "endpoint --stun HOST[:PORT],... [flags]",
		Short: "Say as which public endpoint a local port is seen",
		Long: `Ask STUN servers (synpunch serve, or any of RFC 8489, RFC 5389 or RFC 3489) as
which address and port this host is seen, from the very local port that a punch
will use, over TCP or UDP. Several servers, or the second address of one
(RFC 5780), are asked from that same port: if all see the same endpoint, a peer
can be told it; if not, the NAT makes a mapping for each destination, and
synpunch predict says what comes next.

The NAT may forget the mapping some time after the connection is closed. With
--hold it stays open; a punch from the same port works beside it.

Many public servers answer over UDP only. A mapping of UDP says nothing
certain about TCP, but a NAT that does one thing mostly does the other.

Exit code 1: no server answered.`,
		Example: `  synpunch endpoint --stun 203.0.113.1 --local :40000
  synpunch endpoint --stun stun.example.org,203.0.113.1:3479 --udp --json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return runEndpoint(cmd, &f) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.stun, "stun", nil, "`HOST[:PORT]` of STUN servers (default port 3478)")
	fl.StringVar(&f.local, "local", ":0", "local `[IP]:PORT` to ask from (default: any)")
	fl.BoolVar(&f.tcp, "tcp", false, "ask over TCP (default)")
	fl.BoolVar(&f.udp, "udp", false, "ask over UDP")
	f.ip.register(fl)
	fl.DurationVar(&f.timeout, "timeout", 5*time.Second, "how long to wait for each server")
	fl.DurationVar(&f.hold, "hold", 0, "keep the mapping open for so long, asking again every 20 s")
	fl.BoolVar(&f.json, "json", false, "print one JSON object (docs/serve.md)")
	return cmd
}

// endpointResult is what --json prints.
type endpointResult struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Network string `json:"network"`
	Local   string `json:"local"`
	// Public is the endpoint that all servers saw; null when they saw different ones.
	Public  *netip.AddrPort `json:"public"`
	Mapping mappingWord     `json:"mapping"`
	Looks   []endpointLook  `json:"looks"`
}

// mappingWord is what the looks say about the NAT together.
type mappingWord string

const (
	mappingNone      mappingWord = "no-nat"    // the public endpoint is the local one
	mappingOne       mappingWord = "unknown"   // one look only
	mappingSame      mappingWord = "same"      // every server saw the same endpoint
	mappingDifferent mappingWord = "different" // they did not
)

// endpointLook is one server's answer, or why there is none.
type endpointLook struct {
	Server      string            `json:"server"`
	Error       string            `json:"error,omitempty"`
	Observation *stun.Observation `json:"observation"` // null after an error
	err         error
}

func (f *endpointFlags) check() (stun.Config, error) {
	cfg := stun.Config{Network: "tcp", Timeout: f.timeout}
	if f.udp {
		cfg.Network = "udp"
	}
	switch {
	case len(f.stun) == 0:
		return cfg, usagef("--stun is needed: whom to ask, such as the HOST where 'synpunch serve' runs")
	case f.tcp && f.udp:
		return cfg, usagef("--tcp and --udp exclude each other")
	case f.timeout <= 0:
		return cfg, usagef("--timeout %v: want more than 0", f.timeout)
	case f.hold < 0:
		return cfg, usagef("--hold %v: want 0 or more", f.hold)
	}
	var err error
	if cfg.Local, err = parseLocal(f.local, netip.Addr{}); err != nil {
		return cfg, usagef("--local: %w", err)
	}
	if cfg.Local.Addr().IsUnspecified() { // which family it is depends on the server
		cfg.Local = netip.AddrPortFrom(netip.Addr{}, cfg.Local.Port())
	}
	return cfg, nil
}

func runEndpoint(cmd *cobra.Command, f *endpointFlags) error {
	cfg, err := f.check()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	servers, err := resolveServers(ctx, "--stun", f.stun, stun.DefaultPort, f.ip)
	if err != nil {
		return err
	}
	if a := cfg.Local.Addr(); a.IsValid() {
		for _, s := range servers {
			if s.at.Addr().Is4() != a.Is4() {
				return usagef("--local %v and --stun %v are of different address families", f.local, s.at.Addr())
			}
		}
	}
	l := &looker{cfg: cfg}
	defer l.close()
	for _, s := range servers {
		if err := l.look(ctx, s); err != nil {
			return err
		}
	}
	if other := l.secondAddress(); len(servers) == 1 && other.IsValid() {
		if err := l.look(ctx, server{"second address of " + servers[0].name, other}); err != nil {
			return err
		}
	}
	res := l.result()
	if f.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		err = enc.Encode(res)
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), res.text())
	}
	if err != nil {
		return err
	}
	if len(l.conns) == 0 {
		return exitWith(exitFailed, l.failure(f))
	}
	if f.hold > 0 {
		return l.hold(ctx, f.hold, cmd.ErrOrStderr())
	}
	return nil
}

// looker asks servers from one port and keeps the ways open, so that no NAT
// forgets the mapping between two looks.
type looker struct {
	cfg   stun.Config
	conns []*stun.Conn
	looks []endpointLook
}

func (l *looker) close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// look asks one server. What went wrong is a result too, unless it is ctx.
func (l *looker) look(ctx context.Context, s server) error {
	name := s.name
	if name != s.at.String() {
		name = fmt.Sprintf("%s (%v)", name, s.at)
	}
	look := endpointLook{Server: name}
	c, err := stun.Dial(ctx, s.at, &l.cfg)
	if err == nil {
		if look.Observation, err = c.Bind(ctx); err == nil {
			l.conns = append(l.conns, c)
			l.cfg.Local = c.Local() // the next look is about the same mapping
		} else {
			c.Close()
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		look.err, look.Error = err, err.Error()
	}
	l.looks = append(l.looks, look)
	return nil
}

// secondAddress is the OTHER-ADDRESS of the first server, if it answered.
func (l *looker) secondAddress() netip.AddrPort {
	if o := l.looks[0].Observation; o != nil && o.Other.Addr().Is4() == o.Server.Addr().Is4() {
		return o.Other
	}
	return netip.AddrPort{}
}

// failure is the error when nobody answered, with what to do next.
func (l *looker) failure(f *endpointFlags) error {
	err := l.looks[0].err
	switch {
	case errors.Is(err, stun.ErrTimeWait):
		return fmt.Errorf("no server could be asked from port %d: wait a minute, ask another server or its second port, or choose another --local", l.cfg.Local.Port())
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d is taken by a program that does not share it: choose another --local", l.cfg.Local.Port())
	case !f.udp:
		return errors.New("no server answered over TCP; many public ones serve UDP only: try --udp")
	}
	return errors.New("no server answered")
}

func (l *looker) result() *endpointResult {
	res := &endpointResult{Format: endpointFormat, Version: endpointVersion, Network: l.cfg.Network, Looks: l.looks, Mapping: mappingOne, Local: l.cfg.Local.String()}
	if !l.cfg.Local.Addr().IsValid() {
		res.Local = fmt.Sprintf(":%d", l.cfg.Local.Port())
	}
	var seen []*stun.Observation
	for _, k := range l.looks {
		if k.Observation != nil {
			seen = append(seen, k.Observation)
		}
	}
	if len(seen) == 0 {
		return res
	}
	first := seen[0]
	res.Local = first.Local.String()
	if slices.ContainsFunc(seen, func(o *stun.Observation) bool { return o.Mapped != first.Mapped }) {
		res.Mapping = mappingDifferent
		return res
	}
	res.Public = &first.Mapped
	switch {
	case first.Mapped == first.Local:
		res.Mapping = mappingNone
	case len(seen) > 1:
		res.Mapping = mappingSame
	}
	return res
}

func (r *endpointResult) text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	switch {
	case r.Public != nil:
		line("public endpoint  %v", *r.Public)
	case r.Mapping == mappingDifferent:
		line("public endpoint  a different one for each server")
	default:
		line("public endpoint  not known")
	}
	line("local endpoint   %s, %s", r.Local, strings.ToUpper(r.Network))
	for _, k := range r.Looks {
		if o := k.Observation; o != nil {
			line("  %-30s saw %v, %v", k.Server, o.Mapped, o.RTT.Round(time.Microsecond))
		} else {
			line("  %-30s %s", k.Server, k.Error)
		}
	}
	if r.Public != nil || r.Mapping == mappingDifferent {
		line("mapping          %s", r.Mapping.words())
	}
	return b.String()
}

func (m mappingWord) words() string {
	switch m {
	case mappingNone:
		return "none: there is no NAT on the way"
	case mappingSame:
		return "the same for all: endpoint-independent as far as was seen; a peer can be told this endpoint"
	case mappingDifferent:
		return "one for each destination: nobody can tell a peer which comes next; see synpunch predict"
	}
	return "not known: a second server would tell whether a peer sees the same"
}

// holdEvery is shorter than the mappings of any NAT that RFC 5382 or 4787 allow, and
// than what UDP gets in practice (30 s).
const holdEvery = 20 * time.Second

// hold keeps the mapping until d is over or ctx ends, and fails when it changes.
func (l *looker) hold(ctx context.Context, d time.Duration, stderr io.Writer) error {
	end := time.After(d)
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	fmt.Fprintf(stderr, "holding the mapping for %v; Ctrl-C ends it\n", d)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-end:
			return nil
		case <-tick.C:
		}
		for i, c := range l.conns {
			o, err := c.Bind(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("the mapping is lost: %w", err)
			}
			if was := l.seenBy(i); o.Mapped != was {
				return fmt.Errorf("the mapping has changed: %v, it was %v", o.Mapped, was)
			}
		}
	}
}

// seenBy is what the i-th open way saw at first.
func (l *looker) seenBy(i int) netip.AddrPort {
	for _, k := range l.looks {
		if k.Observation == nil {
			continue
		}
		if i == 0 {
			return k.Observation.Mapped
		}
		i--
	}
	return netip.AddrPort{}
}
