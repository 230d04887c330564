package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// served is a 'synpunch serve' in this process.
type served struct {
	first serveResult
	log   *bytes.Buffer
	stop  func() int
}

// serveHere runs serve with free ports until the test ends.
func serveHere(t *testing.T, args ...string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	s := &served{log: new(bytes.Buffer)}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--json"}, args...), strings.NewReader(""), w, s.log)
		w.CloseWithError(fmt.Errorf("serve ended: %s", s.log))
	}()
	ended := false
	s.stop = func() int {
		if ended {
			return exitDone
		}
		ended = true
		cancel()
		return <-code
	}
	t.Cleanup(func() {
		if got := s.stop(); got != exitDone {
			t.Errorf("serve: exit code %d\n%s", got, s.log)
		}
	})
	if err := json.NewDecoder(r).Decode(&s.first); err != nil {
		t.Fatal(err)
	}
	return s
}

// command runs another verb and returns what it said.
func command(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != want {
		t.Fatalf("%q: exit code %d, want %d\n%s%s", args, code, want, &out, &errs)
	}
	return out.String(), errs.String()
}

var metricLine = regexp.MustCompile(`(?m)^(\w+(?:\{[^}]*\})?) ([-+.0-9e]+)$`)

// TestServe: a server, what clients see of it, its numbers, and its end.
func TestServe(t *testing.T) {
	s := serveHere(t, "--stun", "127.0.0.1:0", "--ntp", "127.0.0.1:0", "--ntp-stratum", "5", "--http", "127.0.0.1:0", "--log", "json")
	if s.first.Format != serveFormat || s.first.Version != serveVersion || s.first.STUN == nil || s.first.NTP == nil || s.first.HTTP == nil || len(s.first.Notes) != 0 {
		t.Fatalf("%+v", s.first)
	}
	stunAt, alt, ntpAt := s.first.STUN.Listen[0].String(), s.first.STUN.Listen[1].String(), s.first.NTP.Listen[0].String()

	for _, network := range []string{"tcp", "udp"} {
		out, _ := command(t, exitDone, "endpoint", "--stun", stunAt+","+alt, "--"+network, "--json")
		var e endpointResult
		if err := json.Unmarshal([]byte(out), &e); err != nil {
			t.Fatal(err)
		}
		if e.Network != network || e.Public == nil || e.Public.String() != e.Local || e.Mapping != mappingNone || len(e.Looks) != 2 {
			t.Errorf("%s", out)
		}
		out, _ = command(t, exitDone, "endpoint", "--stun", stunAt, "--"+network)
		if !strings.HasPrefix(out, "public endpoint  127.0.0.1:") || !strings.Contains(out, "no NAT") {
			t.Errorf("%s", out)
		}
	}

	out, _ := command(t, exitDone, "clock", "--ntp", ntpAt, "--samples", "2", "--interval", "50ms", "--json")
	var c clockResult
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(err)
	}
	if m := c.Servers[0].Measurement; m == nil || m.Stratum != 5 || !m.Synchronised || m.Samples != 2 || c.UTC == nil || c.Agree != 1 ||
		c.UTC.Offset.Abs() > c.UTC.Bound || len(c.Windows) != len(windows) || *c.SureSameNs <= 0 {
		t.Errorf("%s", out)
	}
	out, _ = command(t, exitDone, "clock", "--ntp", ntpAt, "--samples", "1")
	for _, want := range []string{"stratum 5 (127.127.1.1)", "true time", "across an ocean", "100 %"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	checkWeb(t, *s.first.HTTP)
	if code := s.stop(); code != exitDone {
		t.Errorf("exit code %d\n%s", code, s.log)
	}
	for line := range strings.Lines(s.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the log is not JSON: %s", line)
		}
	}
	if !strings.Contains(s.log.String(), `"msg":"stopped"`) {
		t.Errorf("%s", s.log)
	}
}

// checkWeb reads the metrics as a scraper does and compares them with what TestServe did.
func checkWeb(t *testing.T, base string) {
	t.Helper()
	get := func(path string) string {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", path, resp.Status, err)
		}
		return string(b)
	}
	if got := get("/health"); got != "{\"status\":\"ok\"}\n" {
		t.Errorf("health: %q", got)
	}
	text := get("/metrics")
	values := map[string]string{}
	for _, m := range metricLine.FindAllStringSubmatch(text, -1) {
		values[m[1]] = m[2]
	}
	for name, want := range map[string]string{
		`synpunch_stun_requests_total{protocol="udp"}`:   "3",
		`synpunch_stun_requests_total{protocol="tcp"}`:   "3",
		`synpunch_stun_connections_total`:                "3",
		`synpunch_stun_dropped_total{reason="limited"}`:  "0",
		`synpunch_ntp_requests_total`:                    "3",
		`synpunch_ntp_synchronised`:                      "1",
		`synpunch_stun_refused_total`:                    "0",
		`synpunch_ntp_dropped_total{reason="malformed"}`: "0",
	} {
		if values[name] != want {
			t.Errorf("%s is %q, want %s", name, values[name], want)
		}
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "# ") && !metricLine.MatchString(line) && !strings.HasPrefix(line, "synpunch_build_info{") {
			t.Errorf("not the text format: %s", line)
		}
	}
}

// TestServeHalf: each service alone, and an unkept clock is said to be one.
func TestServeHalf(t *testing.T) {
	s := serveHere(t, "--stun", "127.0.0.1:0", "--no-ntp")
	if s.first.NTP != nil || s.first.STUN == nil || s.first.HTTP != nil {
		t.Errorf("%+v", s.first)
	}
	n := serveHere(t, "--no-stun", "--ntp", "127.0.0.1:0")
	if n.first.STUN != nil || n.first.NTP == nil {
		t.Fatalf("%+v", n.first)
	}
	if !n.first.NTP.Synchronised && !slices.ContainsFunc(n.first.Notes, func(s string) bool { return strings.Contains(s, "nobody keeps") }) {
		t.Errorf("no note on a clock that nobody keeps: %+v", n.first)
	}
	out, errs := command(t, exitFailed, "clock", "--ntp", s.first.STUN.Listen[0].String(), "--interval", "50ms", "--timeout", "20ms")
	if !strings.Contains(out, "no answer") || !strings.Contains(errs, "no server answered") {
		t.Errorf("%s%s", out, errs)
	}
}

// TestServePortTaken: what is in the way is named, with what to do.
func TestServePortTaken(t *testing.T) {
	s := serveHere(t, "--stun", "127.0.0.1:0", "--ntp", "127.0.0.1:0")
	for _, args := range [][]string{
		{"--no-ntp", "--stun", s.first.STUN.Listen[0].String()},
		{"--no-stun", "--ntp", s.first.NTP.Listen[0].String()},
		{"--no-ntp", "--stun", "127.0.0.1:0", "--http", s.first.STUN.Listen[0].String()},
	} {
		_, errs := command(t, exitFailed, append([]string{"serve"}, args...)...)
		if !strings.Contains(errs, "another program has the port; choose another one with --") {
			t.Errorf("%q: %s", args, errs)
		}
	}
}

// TestEndpointFails: nobody there, and the way out.
func TestEndpointFails(t *testing.T) {
	s := serveHere(t, "--no-ntp", "--stun", "127.0.0.1:0")
	at := s.first.STUN.Listen[0].String()
	if code := s.stop(); code != exitDone {
		t.Fatal(code)
	}
	out, errs := command(t, exitFailed, "endpoint", "--stun", at)
	if !strings.Contains(errs, "try --udp") || !strings.Contains(out, "public endpoint  not known") {
		t.Errorf("%s%s", out, errs)
	}
	out, _ = command(t, exitFailed, "endpoint", "--stun", at, "--timeout", "50ms", "--json", "--udp")
	var e endpointResult
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Public != nil || e.Looks[0].Error == "" || e.Mapping != mappingOne {
		t.Errorf("%s %v", out, err)
	}
}

// TestServeFields: docs/serve.md names each JSON field.
func TestServeFields(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "serve.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{serveResult{}, endpointResult{}, clockResult{}} {
		checkFields(t, "serve.md", string(text), reflect.TypeOf(v), map[reflect.Type]bool{})
	}
	s := serveHere(t, "--stun", "127.0.0.1:0", "--ntp", "127.0.0.1:0", "--http", "127.0.0.1:0")
	resp, err := http.Get(*s.first.HTTP + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\w+) `).FindAllStringSubmatch(string(b), -1) {
		if !strings.Contains(string(text), "`"+m[1]+"`") {
			t.Errorf("docs/serve.md does not name the metric %s", m[1])
		}
	}
}
