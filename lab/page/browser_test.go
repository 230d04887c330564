package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synpunch/synpunch/lab/sweep"
)

// browser is a headless Chromium that is told what to do over a pipe: messages of the
// Chrome DevTools Protocol as JSON, each ended by a zero byte (--remote-debugging-pipe).
type browser struct {
	t       *testing.T
	to      io.Writer
	from    *bufio.Reader
	session string
	last    int
	events  []message // that came so far
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// patience is how long a loaded machine may take for all that is asked of the browser.
const patience = 2 * time.Minute

// openBrowser starts a browser, or skips where there is none.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Skip("no chromium, chromium-browser or google-chrome in PATH: install one to look at pages in a browser")
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(), "--remote-debugging-pipe", "about:blank")
	inR, inW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{inR, outW} // 3 and 4
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inR.Close()
	outW.Close()
	b := &browser{t: t, to: inW, from: bufio.NewReader(outR)}
	t.Cleanup(func() {
		// It ends when its pipe does, and has then written its last file.
		inW.Close()
		_, _ = io.Copy(io.Discard, outR)
		_ = cmd.Wait()
		stop()
		if t.Failed() {
			t.Logf("%.2000s", &stderr)
		}
	})
	var target struct {
		TargetID string `json:"targetId"`
	}
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// call asks and waits for the answer. What else happens meanwhile is kept.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.last++
	ask := map[string]any{"id": b.last, "method": method}
	if params != nil {
		ask["params"] = params
	}
	if b.session != "" {
		ask["sessionId"] = b.session
	}
	text, err := json.Marshal(ask)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		m := b.next()
		if m.ID != b.last {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
		return
	}
}

// next is the next message.
func (b *browser) next() message {
	b.t.Helper()
	text, err := b.from.ReadBytes(0)
	if err != nil {
		b.t.Fatalf("the browser is gone: %v", err)
	}
	var m message
	if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
		b.t.Fatal(err)
	}
	if m.Method != "" {
		b.events = append(b.events, m)
	}
	return m
}

// open opens a page in a window of a size, and waits until all of it is there.
func (b *browser) open(file string, width, height int, dark bool) {
	b.t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}, nil)
	b.events = nil
	b.call("Page.navigate", map[string]any{"url": "file://" + file}, nil)
	for !b.happened("Page.loadEventFired") {
		b.next()
	}
}

func (b *browser) happened(method string) bool {
	for _, e := range b.events {
		if e.Method == method {
			return true
		}
	}
	return false
}

// number is what an expression gives on the page.
func (b *browser) number(expression string) float64 {
	b.t.Helper()
	var r struct {
		Result struct {
			Value float64 `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression}, &r)
	if r.Exception != nil {
		b.t.Fatalf("%s: %s", expression, r.Exception.Text)
	}
	return r.Result.Value
}

// quiet fails if the page asked for anything beside itself, or if the browser has a
// complaint.
func (b *browser) quiet(file string) {
	b.t.Helper()
	for _, e := range b.events {
		switch e.Method {
		case "Network.requestWillBeSent":
			var p struct {
				Request struct {
					URL string `json:"url"`
				} `json:"request"`
			}
			if err := json.Unmarshal(e.Params, &p); err != nil {
				b.t.Fatal(err)
			}
			if p.Request.URL != "file://"+file && !strings.HasPrefix(p.Request.URL, "data:") {
				b.t.Errorf("%s asked for %s", filepath.Base(file), p.Request.URL)
			}
		case "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown":
			b.t.Errorf("%s: %s", filepath.Base(file), e.Params)
		}
	}
}

// picture is a screen as it is, or the printed page.
func (b *browser) picture(method string, params map[string]any) []byte {
	b.t.Helper()
	var r struct {
		Data string `json:"data"`
	}
	b.call(method, params, &r)
	data, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

// smallType counts the lines of type in pictures that are smaller than 7.5 px on the screen.
const smallType = `[...document.querySelectorAll("svg text")].filter(e => {
	const svg = e.ownerSVGElement, shown = svg.getBoundingClientRect().width
	return shown > 0 && parseFloat(getComputedStyle(e).fontSize) * shown / svg.viewBox.baseVal.width < 7.5
}).length`

// TestBrowser opens pages in a browser, as wide as a phone and as a desk, light and dark,
// and prints one: nothing is asked of a network, nothing complains, nothing is wider
// than the screen but inside its own box, and type keeps a size that can be read.
func TestBrowser(t *testing.T) {
	b := openBrowser(t)
	two := config("connect", "repair")
	two.Axes = append(two.Axes, sweep.Grid{Axis: sweep.Delay, From: 10 * ms, To: 30 * ms, Step: 10 * ms})
	long := config(strings.Repeat("a-name-without-a-place-to-break-", 6), hostile)
	one := saved(t, config("connect", "repair"))
	type screen struct {
		file          string
		width, height int
		dark          bool
	}
	for _, s := range []screen{{saved(t, two), 390, 844, false}, {saved(t, long), 390, 844, false}, {one, 390, 844, true}, {one, 1280, 1000, false}} {
		b.open(s.file, s.width, s.height, s.dark)
		if wide := b.number("document.documentElement.scrollWidth"); wide > float64(s.width) {
			t.Errorf("%+v: the page is %v wide", s, wide)
		}
		if n := b.number(smallType); n > 0 {
			t.Errorf("%+v: %v lines of type are too small", s, n)
		}
		if n := b.number(`[...document.querySelectorAll("svg")].filter(e => e.getBoundingClientRect().width > 0).length`); n < 5 {
			t.Errorf("%+v: %v pictures", s, n)
		}
		ground := b.number(`Number(getComputedStyle(document.body).backgroundColor.match(/\d+/)[0])`)
		if s.dark != (ground < 128) {
			t.Errorf("%+v: ground %v", s, ground)
		}
		b.quiet(s.file)
	}
	if shot := b.picture("Page.captureScreenshot", nil); !bytes.HasPrefix(shot, []byte("\x89PNG")) {
		t.Error("no picture of the screen")
	}
	pdf := b.picture("Page.printToPDF", map[string]any{"preferCSSPageSize": true})
	if pages := bytes.Count(pdf, []byte("/Type /Page\n")); !bytes.HasPrefix(pdf, []byte("%PDF-")) || pages < 3 || pages > 20 {
		t.Errorf("printed: %d bytes and %d pages", len(pdf), pages)
	}
	b.quiet(one)
	b.forbids(one)
}

// saved makes a sweep and its page.
func saved(t *testing.T, cfg *sweep.Config) string {
	t.Helper()
	s := read(t, made(t, cfg, "synpunch", "sweep", strings.Repeat("x", 300)))
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(written(t, s, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// forbids checks that the policy would stop what came through the escaping.
func (b *browser) forbids(file string) {
	b.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	bad := strings.Replace(string(text), "<main>", `<main><script>document.title = "ran"</script><img src="http://192.0.2.1/x.png" onerror="document.title = 'ran'"><p style="position:fixed">`, 1)
	if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.open(file, 800, 800, false)
	if b.number(`Number(document.title === "ran")`) != 0 {
		b.t.Error("a script ran")
	}
	refused := 0
	for _, e := range b.events {
		if e.Method == "Log.entryAdded" && strings.Contains(string(e.Params), "Content Security Policy") {
			refused++
		}
	}
	if refused < 3 {
		b.t.Errorf("%d refusals: want the script, the picture and the style", refused)
	}
}
