package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/internal/testenv"
)

// The command follows the handshakes of this host, those that the filter lets
// pass, and writes what it saw.
func TestAnalyzeLive(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "seen.pcapng")
	var out bytes.Buffer
	started, stderr := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(t.Context(), []string{"analyze", "--live", "any", "--json", "--count", "2", "--capture", file, fmt.Sprint("port ", port)}, nil, &out, stderr)
		stderr.Close()
	}()
	lines := bufio.NewScanner(started)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), "following any") {
		t.Fatalf("%q", lines.Text())
	}
	dial := func(addr string) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
	}
	dial(other.Addr().String()) // not in the filter
	dial(ln.Addr().String())
	ln.Close()
	dial(ln.Addr().String())
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	summary := strings.Join(said, "\n")
	if c := <-code; c != exitDone {
		t.Fatalf("exit code %d\n%s", c, summary)
	}
	if !strings.Contains(summary, "any: 2 handshakes told") {
		t.Errorf("summary %q", summary)
	}
	want := []capture.Verdict{capture.Ordinary, capture.Refused}
	dec := json.NewDecoder(&out)
	for i := 0; ; i++ {
		var h liveObject
		if err := dec.Decode(&h); err == io.EOF {
			if i != len(want) {
				t.Errorf("%d handshakes", i)
			}
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if h.Format != liveFormat || h.Version != liveVersion || h.Verdict != want[i] || int(h.Flow.B.Port()) != port || len(h.Diagnosis) == 0 || h.Number != i+1 {
			t.Errorf("handshake %d: %+v %s %v", i, h, h.Verdict, h.Diagnosis)
		}
	}
	var again bytes.Buffer
	if code := run(t.Context(), []string{"analyze", "--brief", file}, nil, &again, os.Stderr); code != exitDone || !strings.Contains(again.String(), "2 flows: 1 ordinary, 1 refused") {
		t.Errorf("the file: exit code %d\n%s", code, again.String())
	}
}

// Without CAP_NET_RAW the error says how to get it, with exit code 3.
func TestAnalyzeLiveUnprivileged(t *testing.T) {
	rx, err := capture.Open("", nil)
	if err == nil {
		rx.Close()
		t.Skip("this process may capture; the test is for one that may not (setpriv --reuid 65534 --clear-groups)")
	}
	var out, stderr bytes.Buffer
	if code := run(t.Context(), []string{"analyze", "--live", "any"}, nil, &out, &stderr); code != exitMissing {
		t.Errorf("exit code %d", code)
	}
	if words := stderr.String(); !strings.Contains(words, "CAP_NET_RAW") && !strings.Contains(words, "not supported") {
		t.Errorf("%q", words)
	}
}
