package matrix_test

import (
	"testing"

	"github.com/synpunch/synpunch/lab"
	"github.com/synpunch/synpunch/lab/matrix"
	"github.com/synpunch/synpunch/nat"
)

func TestClassOf(t *testing.T) {
	const p, u = matrix.Predictable, matrix.Unpredictable
	for _, tt := range []struct {
		nat    string
		class  matrix.Class
		filter matrix.Filter
		looks  int
	}{
		{"none", p, matrix.ByNothing, 0},
		{"firewall", p, matrix.ByPort, 0},
		{"linux", p, matrix.ByPort, 0},
		{"linux-eim", p, matrix.ByNothing, 0},
		{"linux-random", u, matrix.ByPort, 1},
		{"eim-eif", p, matrix.ByNothing, 0},
		{"adm", p, matrix.ByAddress, 0},
		{"offset", p, matrix.ByPort, 1},
		{"cgn", p, matrix.ByPort, 1},
		{"eim,allocation=random", p, matrix.ByPort, 1},
		{"mapping=adm,filtering=adf,allocation=random", u, matrix.ByAddress, 1},
		{"random,filtering=eif", u, matrix.ByNothing, 1},
		{"mapping=apdm,filtering=apdf,allocation=block", u, matrix.ByPort, 1},
		{"sequential", p, matrix.ByPort, 2},
		{"sequential,counter=host", p, matrix.ByPort, 2},
		{"sequential,counter=destination", u, matrix.ByPort, 2},
		{"sequential,mapping=eim", p, matrix.ByPort, 1},
		{"mapping=apdm,filtering=apdf,allocation=clock", u, matrix.ByPort, 1},
		{"apdm,allocation=offset,offset=7", u, matrix.ByPort, 1},
		{"apdm,allocation=offset,offset=7,overloading=true", p, matrix.ByPort, 1},
		{"per-connection", u, matrix.ByPort, 1},
		{"per-connection,allocation=preserving", p, matrix.ByPort, 0},
		{"eim+cgn", p, matrix.ByPort, 1},
		{"eim-eif+adm", p, matrix.ByAddress, 0},
		{"random+eim-eif", u, matrix.ByPort, 1},
		{"eim-eif+random", u, matrix.ByPort, 1},
		{"model:linux-random", u, matrix.ByPort, 1},
	} {
		k, err := matrix.ParseKind(tt.nat)
		if err != nil {
			t.Errorf("%s: %v", tt.nat, err)
			continue
		}
		if k.Class != tt.class || k.Filter != tt.filter || k.Looks != tt.looks || !k.Accepts {
			t.Errorf("%+v, want %s, by %s, %d looks", k, tt.class, tt.filter, tt.looks)
		}
	}
	for _, name := range []string{"strict", "eim,outbound-synack=new", "eim+strict"} {
		if k, err := matrix.ParseKind(name); err != nil || k.Accepts {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
}

// TestLists holds that every kind of the lists can be read, has its own name and
// stands with its class.
func TestLists(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []matrix.Kind
		want int
	}{
		{"all", matrix.All(), len(nat.Presets())},
		{"kernel", matrix.Kernel(), 8},
		{"vectors", matrix.Vectors(), 4 * 4 * 3},
	} {
		if len(tt.list) != tt.want {
			t.Errorf("%s: %d kinds, want %d", tt.name, len(tt.list), tt.want)
		}
		names, texts := map[string]bool{}, map[string]bool{}
		for i, k := range tt.list {
			if names[k.Name] || texts[k.NAT] {
				t.Errorf("%s: %s is there twice", tt.name, k.Name)
			}
			names[k.Name], texts[k.NAT] = true, true
			if _, err := lab.ParseNAT(k.NAT); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			if i > 0 && k.Class == matrix.Predictable && tt.list[i-1].Class == matrix.Unpredictable {
				t.Errorf("%s: %s stands behind unpredictable ones", tt.name, k.Name)
			}
		}
	}
}
