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
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab/sim"
	"github.com/synpunch/synpunch/punch"
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

// TestSimReport: the object of the demo, about the packets that the hosts saw.
func TestSimReport(t *testing.T) {
	for _, engine := range []string{"repair", "park", "connect"} {
		name := filepath.Join(t.TempDir(), "report.json")
		args := []string{"sim", "--trials", "3", "--trial", "2", "--engine", engine, "--strategy", "prime", "--skew", "5ms", "--report", name}
		if code := run(t.Context(), args, strings.NewReader(""), io.Discard, os.Stderr); code != exitDone {
			t.Fatalf("exit code %d", code)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var res demoResult
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&res); err != nil {
			t.Fatal(err)
		}
		if res.Version != 1 || res.Outcome != punch.Established || !res.Crossed || *res.SkewNS != 5e6 || *res.MarginNS != 15e6 || res.Scenario.Family != "ip4" {
			t.Errorf("%s: %s", engine, text)
		}
		for i, r := range []*punch.Report{res.A, res.B} {
			if r.Outcome != punch.Established || r.Engine != punch.Engine(engine) || r.Strategy != punch.Prime || !*r.Simultaneous || *r.SendErrorNS != 0 ||
				r.Crossing == nil || r.Crossing.Regime != capture.RegimeCrossed || r.ICMPs != 1 || r.RSTs != 0 || r.PeerISN == nil || len(r.Events) < 5 {
				t.Errorf("%s, side %d: %+v", engine, i, r)
			}
			if want := sim.Epoch.Add(time.Duration(i) * 5 * time.Millisecond); !r.Scheduled.Equal(want) || !r.Sent.Equal(want) {
				t.Errorf("%s, side %d: scheduled %v, sent %v", engine, i, r.Scheduled, r.Sent)
			}
		}
		if *res.A.ISN != *res.B.PeerISN || *res.A.Established != 40e6 || *res.B.Established != 40e6 {
			t.Errorf("%s: ISN %d and %d, established %d and %d", engine, *res.A.ISN, *res.B.PeerISN, *res.A.Established, *res.B.Established)
		}
	}
}

// TestSimConstants: the simulation does what package punch does.
func TestSimConstants(t *testing.T) {
	if sim.PrimeLead != punch.PrimeLead || sim.PrimeTTL != punch.PrimeTTL || sim.DefaultRetries != punch.DefaultRetries || sim.DefaultTimeout != punch.DefaultTimeout {
		t.Error("not the numbers of package punch")
	}
}

func TestWrapWords(t *testing.T) {
	if got, want := wrapWords([]string{"one", "two", "three", "four"}, 10, "  "), "one, two,\n  three,\n  four"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
