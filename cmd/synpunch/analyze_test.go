package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/synpunch/synpunch/capture"
)

// foreignCaptures are made by tcpdump of stock kernels' sockets, see the README there.
const foreignCaptures = "../../capture/testdata/foreign"

// TestAnalyzeScripts runs 'synpunch analyze' on captures that others made; the
// scripts find them in $CAPTURES.
func TestAnalyzeScripts(t *testing.T) {
	dir, err := filepath.Abs(foreignCaptures)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/analyze",
		Setup: func(env *testscript.Env) error {
			env.Setenv("CAPTURES", dir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// cut FROM BYTES TO keeps the beginning of a file.
			"cut": func(ts *testscript.TestScript, _ bool, args []string) {
				n, err := strconv.Atoi(args[1])
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(ts.ReadFile(args[0]))[:n], 0o644))
			},
		},
	})
}

// The page shows what the command prints.
func TestAnalyzePage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(docs, "analyze.md"))
	if err != nil {
		t.Fatal(err)
	}
	checkFields(t, "analyze.md", string(page), reflect.TypeFor[analyzeResult](), map[reflect.Type]bool{})
	var out bytes.Buffer
	args := []string{"analyze", filepath.Join(foreignCaptures, "crossed-a.pcap"), filepath.Join(foreignCaptures, "crossed-b.pcap")}
	if code := run(t.Context(), args, nil, &out, os.Stderr); code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	story, _, _ := strings.Cut(out.String(), "\n\n"+foreignCaptures)
	if !strings.Contains(string(page), story) {
		t.Errorf("docs/analyze.md does not show this:\n%s", story)
	}
	for _, v := range capture.Verdicts() {
		if !strings.Contains(string(page), "| `"+string(v)+"` |") {
			t.Errorf("docs/analyze.md does not explain the verdict %q", v)
		}
	}
}

// What --json prints can be read back into the same types.
func TestAnalyzeJSON(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(foreignCaptures, "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		var out bytes.Buffer
		if code := run(t.Context(), []string{"analyze", "--json", file}, nil, &out, os.Stderr); code != exitDone {
			t.Fatalf("%s: exit code %d", file, code)
		}
		var res analyzeResult
		dec := json.NewDecoder(bytes.NewReader(out.Bytes()))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&res); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		again, err := json.MarshalIndent(&res, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if string(again)+"\n" != out.String() {
			t.Errorf("%s changes when it is read and written", file)
		}
	}
}
