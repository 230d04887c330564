package testenv_test

import (
	"net"
	"testing"

	"github.com/synpunch/synpunch/internal/testenv"
)

func TestIsolateGivesAnEmptyNetwork(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifs {
		// Kernels with tunnel modules make their fallback devices in every namespace; all are down.
		if i.Name != "lo" && i.Flags&net.FlagUp != 0 {
			t.Errorf("interface %s is up in a fresh namespace", i.Name)
		}
		if i.Name == "lo" && i.Flags&net.FlagUp == 0 {
			t.Error("lo is down")
		}
	}
}

func BenchmarkIsolate(b *testing.B) {
	if !testenv.Isolate(b) {
		return
	}
	for b.Loop() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
	b.ReportMetric(42, "answers")
}
