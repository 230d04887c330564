package odds

import (
	"errors"
	"testing"

	"github.com/synpunch/synpunch/nat"
)

func TestChain(t *testing.T) {
	for _, c := range []struct{ inner, outer, want string }{
		{"eim", "cgn", "filtering=apdf,allocation=block,overloading=true,unsolicited=drop,transitory=4m,hold-down=2m"},
		{"eim-eif", "random,filtering=adf", "mapping=apdm,filtering=adf,allocation=random,unsolicited=drop,transitory=4m"},
		{"random", "eim", "mapping=apdm,filtering=apdf,allocation=random,unsolicited=drop,transitory=4m"},
		{"random,max-mappings=100", "cgn-quota", "mapping=apdm,filtering=apdf,allocation=block,overloading=true,unsolicited=drop,transitory=4m,hold-down=2m,max-mappings=64,syn-rate=16,full=icmp"},
		{"linux", "eim", "mapping=apdm,filtering=apdf,unsolicited=drop,rst-in=close,transitory=2m"},
		{"firewall", "eim-eif", "filtering=apdf,unsolicited=drop,rst-in=close,transitory=2m"},
		{"eim", "none", "filtering=apdf,unsolicited=drop,transitory=4m"},
		{"strict", "eim", "filtering=apdf,unsolicited=drop,inbound-syn=drop,outbound-synack=drop,transitory=4m"},
		{"eim,rst-in=close after 5s", "eim,rst-in=close", "filtering=apdf,unsolicited=drop,rst-in=close,transitory=4m"},
	} {
		got, err := Chain(behaviour(t, c.inner), behaviour(t, c.outer))
		if err != nil {
			t.Errorf("%s + %s: %v", c.inner, c.outer, err)
			continue
		}
		if want := behaviour(t, c.want); got != want {
			t.Errorf("%s + %s: %v, want %v", c.inner, c.outer, got, want)
		}
	}
	if b := behaviour(t, "linux-random"); mustChain(t, b) != b {
		t.Error("one NAT alone was changed")
	}
	if _, err := Chain(); !errors.Is(err, ErrConfig) {
		t.Errorf("no NAT: %v", err)
	}
	odd := behaviour(t, "eim-eif")
	odd.Ports = nat.PortRange{First: 2, Last: 1}
	if _, err := Chain(behaviour(t, "eim"), odd); !errors.Is(err, nat.ErrBehaviour) {
		t.Errorf("impossible: %v", err)
	}
}

func mustChain(t *testing.T, list ...nat.Behaviour) nat.Behaviour {
	t.Helper()
	b, err := Chain(list...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
