package capture

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// filterVM runs a filter in Go.
func filterVM(t testing.TB, expression string) *bpf.VM {
	t.Helper()
	raw, err := CompileFilter(expression)
	if err != nil {
		t.Fatal(err)
	}
	prog := make([]bpf.Instruction, len(raw))
	for i := range raw {
		prog[i] = raw[i].Disassemble()
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return vm
}

// filterCount is how many packets of the recorded captures pass.
func filterCount(t *testing.T, vm *bpf.VM) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "foreign", "*.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		for {
			p, err := r.Next()
			if err != nil {
				break
			}
			ip, err := p.IP()
			if err != nil {
				continue
			}
			if keep, err := vm.Run(ip); err == nil && keep > 0 {
				n++
			}
		}
	}
	return n
}

// filterCases are expressions and how many packets of testdata/foreign pass.
// TestFilterAgainstTcpdump asks tcpdump the same.
var filterCases = []string{
	"tcp", "udp", "icmp", "ip", "ip6", "ip6 and tcp", "icmp6", "not tcp", "tcp or icmp",
	"host 10.0.1.2", "src host 10.0.1.2", "dst 203.0.113.2", "ip host 10.0.1.2", "src 10.0.1.2 or 203.0.113.2",
	"host fd00:2::2", "net 10.0.0.0/8", "src net 203.0.113.0/24", "net fd00::/16", "net 0.0.0.0/0", "src or dst net 10.0.2.0/24", "src and dst net 10.0.0.0/8",
	"port 4200", "tcp port 4200", "src port 4200", "dst port 9", "src or dst port 4200", "src and dst port 4200", "portrange 4100-4210", "tcp src portrange 4000-4099", "udp port 53",
	"port 4200 or 4210", "port 4200 or 4210 and host 10.0.1.2", "host 10.0.1.2 and port 4200", "tcp port 4200 and host 203.0.113.2",
	"not port 4200 and not port 4210", "!(port 4200 || port 4210) && tcp", "not ( host 10.0.1.2 or icmp ) or ip6", "port 9 or port 4200 and ip6",
}

func TestFilter(t *testing.T) {
	all := filterCount(t, filterVM(t, "tcp or not tcp"))
	tcp := filterCount(t, filterVM(t, "tcp"))
	if other := filterCount(t, filterVM(t, "not tcp")); all == 0 || tcp == 0 || tcp+other != all {
		t.Errorf("%d tcp, %d not, %d in all", tcp, other, all)
	}
	if n := filterCount(t, filterVM(t, "src port 4200")) + filterCount(t, filterVM(t, "dst port 4200")) - filterCount(t, filterVM(t, "src and dst port 4200")); n == 0 || n != filterCount(t, filterVM(t, "port 4200")) {
		t.Errorf("%d packets from or to the port", n)
	}
	// 'and' and 'or' bind alike: (9 or 4200) and ip6.
	if n := filterCount(t, filterVM(t, "port 9 or port 4200 and ip6")); n != 0 {
		t.Errorf("%d packets: 'and' bound more than 'or'", n)
	}
	if raw, err := CompileFilter("  "); raw != nil || err != nil {
		t.Errorf("the empty filter: %v %v", raw, err)
	}
}

func TestFilterErrors(t *testing.T) {
	for expression, words := range map[string]string{
		"host example.org": "names are not looked up", "port http": "port number", "port 70000": "port number", "port 1-2": "portrange", "portrange 9-1": "port number",
		"net 10": "network", "net 10.0.0.1/8": "10.0.0.0/8", "tcp[13] & 2 != 0": "", "ether host 1": "", "tcp and": "missing", "and tcp": "missing", "(tcp": "not closed", "tcp)": "does not belong",
		"src": "needs", "host": "needs", "tcp tcp": "", "ip6 host 10.0.0.1": "not an address of ip6", "icmp port 7": "no ports", "less 100": "less", "10.0.1.2": "10.0.1.2", "tcp host 10.0.1.2": "tcp and host",
		strings.Repeat("(", 100) + "tcp" + strings.Repeat(")", 100): "parentheses", strings.Repeat("port 1 or ", 300) + "port 2": "too long",
	} {
		_, err := CompileFilter(expression)
		if !errors.Is(err, ErrFilter) || !strings.Contains(err.Error(), words) {
			t.Errorf("%.40q: %v", expression, err)
		}
	}
}

// tcpdump takes the same packets for the same expression.
func TestFilterAgainstTcpdump(t *testing.T) {
	if testing.Short() {
		t.Skip("starts tcpdump some hundred times")
	}
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is not here (apt install tcpdump)")
	}
	files, err := filepath.Glob(filepath.Join("testdata", "foreign", "ordinary-ip6-ethernet.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"crossed-a", "icmp", "unanswered", "ordinary-any-sll2"} {
		files = append(files, filepath.Join("testdata", "foreign", name+".pcap"))
	}
	for _, expression := range filterCases {
		vm := filterVM(t, expression)
		for _, file := range files {
			out, err := exec.CommandContext(context.Background(), tcpdump, "-r", file, "-w", "-", expression).Output()
			if err != nil {
				t.Fatalf("%s: %v", expression, err)
			}
			want, got := 0, 0
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i, data := range [][]byte{out, b} {
				r, err := NewReader(bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
				for {
					p, err := r.Next()
					if err != nil {
						break
					}
					ip, err := p.IP()
					if err != nil {
						continue
					}
					if i == 0 {
						want++
					} else if keep, err := vm.Run(ip); err == nil && keep > 0 {
						got++
					}
				}
			}
			if got != want {
				t.Errorf("%s of %s: %d packets, tcpdump %d", expression, filepath.Base(file), got, want)
			}
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range filterCases {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := CompileFilter(s)
		if err != nil || raw == nil {
			return
		}
		vm := filterVM(t, s)
		for _, b := range [][]byte{nil, {0x45}, make([]byte, 60), {0x60, 0, 0, 0, 0, 0, 6}} {
			if _, err := vm.Run(b); err != nil {
				t.Errorf("%q on %d bytes: %v", s, len(b), err)
			}
		}
	})
}
