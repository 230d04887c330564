package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synpunch/synpunch/capture"
)

// TestSimInterrupted: Ctrl-C keeps what is done.
func TestSimInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr bytes.Buffer
	cancel()
	code := run(ctx, []string{"sim", "--trials", "1000000000", "--json"}, strings.NewReader(""), &stdout, &stderr)
	var res simResult
	if err := json.Unmarshal(stdout.Bytes(), &res); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if code != exitFailed || res.Trials >= res.Requested || !strings.Contains(stderr.String(), "interrupted after ") {
		t.Errorf("exit code %d, %d of %d trials, %s", code, res.Trials, res.Requested, stderr.String())
	}
}

// TestSimCapture reads the file back: four lanes, each packet with its direction.
func TestSimCapture(t *testing.T) {
	for _, family := range []string{"ip4", "ip6"} {
		name := filepath.Join(t.TempDir(), "first.pcapng")
		args := []string{"sim", "--trials", "2", "--nat-a", "none", "--nat-b", "firewall", "--capture", name}
		if family == "ip6" {
			args = append(args, "--ip6")
		}
		if code := run(t.Context(), args, strings.NewReader(""), io.Discard, os.Stderr); code != exitDone {
			t.Fatalf("exit code %d", code)
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		r, err := capture.NewReader(file)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for {
			p, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.IP(); err != nil {
				t.Error(err)
			}
			seen[r.Interfaces()[p.Interface].Name+" "+p.Dir.String()]++
		}
		for _, lane := range []string{"a", "nat-a", "nat-b", "b"} {
			for _, dir := range []capture.Direction{capture.DirIn, capture.DirOut} {
				// SYN, SYN-ACK, ACK.
				if n := seen[lane+" "+dir.String()]; n != 3 {
					t.Errorf("%s: %d packets %v at %s: %v", family, n, dir, lane, seen)
				}
			}
		}
	}
}

func TestWrapWords(t *testing.T) {
	if got, want := wrapWords([]string{"one", "two", "three", "four"}, 10, "  "), "one, two,\n  three,\n  four"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
