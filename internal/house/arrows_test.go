package house

import (
	"go/token"
	"slices"
	"strings"
	"testing"
)

// arrows says which packages of this module a package may import, apart from
// internal/ (see internalArrow). Test files may import more. A package that is
// not in the table may not exist: add its row, and the reason, first.
var arrows = map[string][]string{
	"rawtcp":            {},
	"timing":            {},
	"capture":           {"rawtcp"},
	"handoff":           {"rawtcp"},
	"nat":               {"rawtcp"},
	"nat/predict":       {"rawtcp"},
	"nat/odds":          {"nat", "nat/predict", "rawtcp"}, // odds are of behaviours; the words for whole scenarios are the command's to read
	"nat/discover":      {"rawtcp", "capture", "handoff", "nat", "rendezvous"},
	"rendezvous":        {"timing"},
	"rendezvous/stun":   {},
	"rendezvous/ntp":    {"timing"},
	"punch":             {"rawtcp", "timing", "capture", "handoff", "nat/predict"},
	"lab":               {"nat", "timing"},
	"lab/lanes":         {"capture"},
	"lab/sim":           {"lab", "lab/lanes", "rawtcp", "nat", "nat/predict", "timing"},           // a simulated peer predicts as a live one does
	"lab/live":          {"lab", "lab/lanes", "nat", "nat/predict", "punch", "rawtcp", "capture"}, // the link process reads and stamps packets itself; a trial aims where a peer would
	"lab/matrix":        {"lab", "lab/sim", "lab/live", "nat", "nat/odds", "punch"},               // it asks both worlds the same question; punch names the engines
	"lab/figure":        {},
	"lab/sweep":         {"lab", "lab/sim", "lab/live", "nat", "punch", "capture", "timing", "rawtcp"}, // as lab/matrix, and it says beforehand what timing expects and finds the SYNs at the NATs
	"lab/sweep/parquet": {"lab/sweep"},
	"lab/sweep/draw":    {"lab/sweep", "lab/figure", "timing"},
	"lab/page":          {"lab/sweep", "lab/sweep/draw", "lab/figure", "capture", "punch"}, // a page has the figures of a sweep, the ladders of its trials, and reports of attempts
	"internal/doctor":   {"timing", "handoff", "rawtcp", "capture"},
}

// leaves import nothing of ours, internal/ included: others may copy them out.
var leaves = []string{"rawtcp", "timing"}

// importers says who alone may import a package outside its tests.
var importers = map[string][]string{
	"internal/doctor":  {"cmd/"},
	"internal/testenv": {"internal/testenv"},
	"internal/house":   {"nobody"},
	"lab/figure":       {"cmd/", "examples/", "lab/page", "lab/sweep/draw"}, // it pulls in a module for plots
}

func TestArrows(t *testing.T) {
	eachGo(t, func(f *file) {
		if f.isTest() {
			return
		}
		from := f.pkg()
		f.imports(func(path string, pos token.Pos) {
			to, ours := strings.CutPrefix(path, module+"/")
			if !ours {
				if path == module {
					t.Errorf("%s: nothing stands at the top of the module", f.at(pos))
				}
				return
			}
			if !allowed(from, to) {
				t.Errorf("%s: %s may not import %s (the table is in internal/house)", f.at(pos), from, to)
			}
		})
		if _, ok := arrows[from]; !ok && !strings.HasPrefix(from, "internal/") && !strings.HasPrefix(from, "cmd/") && !strings.HasPrefix(from, "examples/") {
			t.Errorf("%s: package %s has no row in the table of arrows", f.Name, from)
		}
	})
}

func allowed(from, to string) bool {
	if who, ok := importers[to]; ok && !slices.ContainsFunc(who, func(p string) bool { return strings.HasPrefix(from, p) }) {
		return false
	}
	if strings.HasPrefix(to, "cmd/") {
		return false
	}
	if strings.HasPrefix(from, "cmd/") || strings.HasPrefix(from, "examples/") {
		return true
	}
	if strings.HasPrefix(to, "internal/") {
		return !slices.Contains(leaves, from)
	}
	return slices.Contains(arrows[from], to)
}

func TestArrowsTable(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     bool
	}{
		{"punch", "rawtcp", true},
		{"punch", "lab", false},
		{"rawtcp", "timing", false},
		{"rawtcp", "internal/netns", false},
		{"lab/live", "internal/netns", true},
		{"punch", "internal/doctor", false},
		{"lab/matrix", "lab/figure", false},
		{"cmd/synpunch", "lab/figure", true},
		{"cmd/synpunch", "internal/doctor", true},
		{"cmd/synpunch", "internal/testenv", false},
		{"internal/netns", "rawtcp", false},
		{"capture", "cmd/synpunch", false},
	} {
		if got := allowed(c.from, c.to); got != c.want {
			t.Errorf("allowed(%s, %s) = %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

// homes says where a module from elsewhere may be imported. What is not listed
// may be imported anywhere.
var homes = map[string]struct {
	code, tests []string // prefixes of file names
	why         string
}{
	"github.com/google/gopacket": {
		tests: []string{"rawtcp/", "capture/"},
		why:   "it is the slow oracle beside our own codec, and one place is enough to feel its next release",
	},
	"github.com/google/nftables": {
		code:  []string{"lab/live/", "internal/", "cmd/"},
		tests: []string{""},
		why:   "only the lab writes firewall rules: a punch leaves none behind",
	},
	"github.com/vishvananda/netlink": {
		code:  []string{"lab/live/", "internal/", "cmd/", "punch/"},
		tests: []string{""},
		why:   "only the lab makes links, addresses and routes; punch asks which route a flow takes",
	},
	"github.com/spf13/cobra": {
		code:  []string{"cmd/"},
		tests: []string{"cmd/"},
		why:   "the command line is not part of the library",
	},
	"gonum.org/v1/plot": {
		code:  []string{"lab/figure/"},
		tests: []string{"lab/figure/"},
		why:   "one package draws: a program that does not import it does not pull in a module for plots",
	},
	"github.com/parquet-go/parquet-go": {
		code:  []string{"lab/sweep/parquet/"},
		tests: []string{"lab/sweep/parquet/"},
		why:   "a program that uses the libraries does not pull it in unless it writes Parquet",
	},
	"github.com/pion/stun": {
		tests: []string{"rendezvous/stun/"},
		why:   "it is the oracle beside our own codec; as a library it brings a DTLS stack along, and no clients of RFC 3489",
	},
	"github.com/beevik/ntp": {
		tests: []string{"rendezvous/ntp/"},
		why:   "it is the foreign client that reads our server; a client of its own would take any packet for the answer",
	},
	"pgregory.net/rapid":              {tests: []string{""}, why: "tests only"},
	"github.com/rogpeppe/go-internal": {tests: []string{""}, why: "tests only"},
	"github.com/google/go-cmp":        {tests: []string{""}, why: "tests only"},
}

func TestHomes(t *testing.T) {
	eachGo(t, func(f *file) {
		f.imports(func(path string, pos token.Pos) {
			for mod, home := range homes {
				if path != mod && !strings.HasPrefix(path, mod+"/") {
					continue
				}
				places := home.code
				if f.isTest() {
					places = home.tests
				}
				if !slices.ContainsFunc(places, func(p string) bool { return strings.HasPrefix(f.Name, p) }) {
					t.Errorf("%s: %s does not belong here: %s", f.at(pos), mod, home.why)
				}
			}
		})
	})
}
