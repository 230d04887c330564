package doctor

import (
	"embed"
	"errors"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

//go:embed testdata
var golden embed.FS // read from here: the test binary runs anywhere

var update = flag.Bool("update", false, "write the golden files anew")

func TestText(t *testing.T) {
	bounded := userFacts()
	bounded.Container, bounded.UID, bounded.Bounding, bounded.Seccomp = "docker", 0, 1<<capNetRaw, 2
	bounded.Effective, bounded.Packet, bounded.Raw4, bounded.Raw6 = 1<<capNetRaw, yes, yes, yes
	for name, r := range map[string]Result{
		"root":      judge(rootFacts(), insideFacts()),
		"user":      judge(userFacts(), insideFacts()),
		"container": judge(bounded, &Facts{UserNS: denied}),
		"darwin":    judge(&Facts{OS: "darwin", Kernel: "", Arch: "arm64", CPUs: 8, UID: 501}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			var plain, colored strings.Builder
			if err := r.Text(&plain, false); err != nil {
				t.Fatal(err)
			}
			if err := r.Text(&colored, true); err != nil {
				t.Fatal(err)
			}
			bare := regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(colored.String(), "")
			if diff := cmp.Diff(plain.String(), bare); diff != "" {
				t.Errorf("colour changes the text:\n%s", diff)
			}
			if plain.String() == colored.String() {
				t.Error("no colour")
			}
			file := "testdata/" + name + ".txt"
			if *update {
				if err := os.WriteFile(file, []byte(plain.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := golden.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), plain.String()); diff != "" {
				t.Errorf("go test -update writes %s anew (-want +got):\n%s", file, diff)
			}
			for line := range strings.Lines(plain.String()) {
				if strings.TrimRight(line, " \n") != strings.TrimRight(line, "\n") {
					t.Errorf("blanks at the end of %q", line)
				}
			}
			if last := plain.String()[strings.LastIndex(strings.TrimRight(plain.String(), "\n"), "\n")+1:]; last != r.Summary()+"\n" {
				t.Errorf("the last line is %q", last)
			}
		})
	}
}

type fullDisk struct{}

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestTextReportsErrors(t *testing.T) {
	r := judge(rootFacts(), nil)
	if err := r.Text(fullDisk{}, false); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}
