package page

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab/sweep"
	"github.com/synpunch/synpunch/punch"
	"github.com/synpunch/synpunch/rawtcp"
)

// attempted makes the directory of an attempt from a simulated trial.
func attempted(t *testing.T) string {
	t.Helper()
	s := read(t, made(t, config("repair")))
	i := slices.IndexFunc(s.Rows, func(r sweep.Row) bool { return r.Outcome == sweep.Established })
	packets := map[string][]capture.Packet{}
	err := eachPacket(s.files, s.Rows[i].Capture, func(r *capture.Reader, next func() (capture.Packet, error)) error {
		for {
			p, err := next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			p.Data = slices.Clone(p.Data)
			lane := r.Interfaces()[p.Interface].Name
			packets[lane] = append(packets[lane], p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for k, lane := range []string{capture.LaneA, capture.LaneB} {
		file, err := os.Create(filepath.Join(dir, ends[k].packets))
		if err != nil {
			t.Fatal(err)
		}
		w, err := capture.NewWriter(file, capture.Interface{Name: lane, Link: capture.LinkLinuxSLL2})
		if err != nil {
			t.Fatal(err)
		}
		r := punch.Report{Version: 1, Outcome: punch.Established, Engine: punch.Repair, Strategy: punch.Cross, Scheduled: s.Rows[i].At}
		for _, p := range packets[lane] {
			p.Interface = 0
			if err := w.WritePacket(p); err != nil {
				t.Fatal(err)
			}
			ip, err := p.IP()
			if err != nil {
				t.Fatal(err)
			}
			if seg, err := rawtcp.Parse(ip); err == nil && p.Dir == capture.DirOut {
				r.Flow = punch.Flow{Local: seg.Src, Remote: seg.Dst}
			}
		}
		took := int64(40 * time.Millisecond)
		r.Established = &took
		r.Host = punch.Host{OS: "linux", Kernel: "6.1", Version: "v9"}
		if err := errors.Join(file.Close(), r.WriteFile(filepath.Join(dir, ends[k].report))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// attemptPage reads the directory and checks its page.
func attemptPage(t *testing.T, dir string) *html.Node {
	t.Helper()
	a, err := ReadAttempt(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var b strings.Builder
	if err := a.Write(&b, nil); err != nil {
		t.Fatal(err)
	}
	return check(t, b.String())
}

// TestAttempt: the page of one attempt has both reports and the packets of both ends on
// one clock.
func TestAttempt(t *testing.T) {
	dir := attempted(t)
	doc := attemptPage(t, dir)
	page := inside(doc)
	for _, want := range []string{"Did the two ends connect?", "A: established after 40 ms, 10.0.1.2:", "B: established after 40 ms, 10.0.2.2:",
		"As host A reports it", "As host B reports it", "a.pcapng", "the SYNs crossed", "kernel 6.1, synpunch v9"} {
		if !strings.Contains(strings.ReplaceAll(page, "\u00a0", " "), want) {
			t.Errorf("the page does not say %q: %s", want, page)
		}
	}
	if a := elements(doc, "article")[0]; !has(a, "svg") {
		t.Error("no ladder")
	}
}

// TestHalfAnAttempt: what is missing or damaged is told.
func TestHalfAnAttempt(t *testing.T) {
	dir := attempted(t)
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	remove("b.json")
	remove("b.pcapng")
	doc := attemptPage(t, dir)
	if page := inside(doc); strings.Contains(page, "As host B") || !strings.Contains(page, "b.pcapng: ") || !has(elements(doc, "article")[0], "svg") {
		t.Error(page)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.pcapng"), []byte("no capture"), 0o600); err != nil {
		t.Fatal(err)
	}
	if doc := attemptPage(t, dir); !strings.Contains(inside(doc), "a.pcapng: ") || has(elements(doc, "article")[0], "svg") {
		t.Error(inside(doc))
	}
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(`{"version":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAttempt(dir); err == nil || !strings.Contains(err.Error(), "a.json: ") {
		t.Error(err)
	}
	remove("a.json")
	if _, err := ReadAttempt(dir); !errors.Is(err, ErrNotAttempt) {
		t.Error(err)
	}
}

// TestHostileAttempt: what a peer may have put into a report is text.
func TestHostileAttempt(t *testing.T) {
	dir := attempted(t)
	r := punch.Report{Outcome: hostile, Error: hostile, Engine: hostile, Strategy: hostile, Notes: []string{hostile},
		Crossing: &capture.Crossing{Regime: hostile}, Host: punch.Host{OS: hostile, Kernel: hostile, Version: hostile}}
	if err := r.WriteFile(filepath.Join(dir, "a.json")); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(inside(attemptPage(t, dir)), "alert(1)"); n < 8 {
		t.Errorf("the text is there %d times only", n)
	}
}
