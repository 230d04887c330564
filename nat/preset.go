package nat

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A PresetInfo is a named Behaviour.
type PresetInfo struct {
	Name      string    `json:"name"`
	About     string    `json:"about"` // one line for people
	Behaviour Behaviour `json:"behaviour"`
}

// Presets lists every preset, in the order in which documentation shows them.
func Presets() []PresetInfo { return slices.Clone(presets) }

// Preset finds a preset by its name.
func Preset(name string) (Behaviour, error) {
	for i := range presets {
		if presets[i].Name == name {
			return presets[i].Behaviour, nil
		}
	}
	var names []string
	for _, p := range presets {
		names = append(names, p.Name)
	}
	return Behaviour{}, fmt.Errorf("nat: preset: %w %q: want %s", ErrUnknownKey, name, strings.Join(names, ", "))
}

// Those by behaviour. Unless its subject is the answer, a preset drops what it
// was not asked for: otherwise the answer would be what an experiment sees. Their
// numbers are chosen by us, except the hold-down of cgn, which is that of RFC 6888 REQ-8.
var presets = append([]PresetInfo{
	{"eim", "endpoint-independent mapping, strict filter", Behaviour{Filtering: APDF, Unsolicited: UnsolicitedDrop}},
	{"eim-eif", "endpoint-independent mapping and filtering: the friendliest", Behaviour{Unsolicited: UnsolicitedDrop}},
	{"adm", "a mapping for each remote address; the second gets the next port", Behaviour{Mapping: ADM, Filtering: ADF, Collision: CollisionNext, Unsolicited: UnsolicitedDrop}},
	{"apdm", "a mapping for each remote endpoint; the second gets the next port", Behaviour{Mapping: APDM, Filtering: APDF, Collision: CollisionNext, Unsolicited: UnsolicitedDrop}},
	{"sequential", "a mapping for each remote endpoint, ports counted up by one", Behaviour{Mapping: APDM, Filtering: APDF, Allocation: Sequential, Unsolicited: UnsolicitedDrop}},
	{"sequential-2", "a mapping for each remote endpoint, ports counted up by two", Behaviour{Mapping: APDM, Filtering: APDF, Allocation: Sequential, Delta: 2, Unsolicited: UnsolicitedDrop}},
	{"offset", "the internal port plus 1000", Behaviour{Filtering: APDF, Allocation: Offset, Offset: 1000, Unsolicited: UnsolicitedDrop}},
	{"random", "a mapping for each remote endpoint, random port: unpredictable", Behaviour{Mapping: APDM, Filtering: APDF, Allocation: Random, Unsolicited: UnsolicitedDrop}},
	{"cgn", "carrier-grade: blocks of ports, paired address, overloaded ports", Behaviour{Filtering: APDF, Allocation: Block, Overloading: true, HoldDown: 120 * time.Second, Unsolicited: UnsolicitedDrop}},
	{"cgn-quota", "carrier-grade: 64 mappings and 16 new ones a second for each host", Behaviour{Filtering: APDF, Allocation: Block, Overloading: true, HoldDown: 120 * time.Second, Unsolicited: UnsolicitedDrop, MaxMappings: 64, SYNRate: 16, Full: FullICMP}},
	{"strict", "drops a SYN that crosses its own", Behaviour{Filtering: APDF, Unsolicited: UnsolicitedDrop, InboundSYN: InboundSYNDrop, OutboundSYNACK: SYNACKDrop}},
	{"rewriting", "rewrites sequence numbers and timestamps", Behaviour{Filtering: APDF, Unsolicited: UnsolicitedDrop, RewriteSequence: true, RewriteTimestamps: true}},
	{"rst-happy", "answers unsolicited SYNs with RST", Behaviour{Filtering: APDF, Unsolicited: UnsolicitedRST, RSTIn: Reaction{Close: true}}},
	{"six-seconds", "answers an unsolicited SYN with ICMP after six seconds", Behaviour{Filtering: APDF}},
	{"per-connection", "a new random port for each connection", Behaviour{Mapping: PerConnection, Filtering: APDF, Allocation: Random, Unsolicited: UnsolicitedDrop}},
}, known...)
