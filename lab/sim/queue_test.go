package sim

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestQueue compares the heap with sorting: by time, then by kind, then in the
// order of making.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var list []event
		made := uint32(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(list) > 0 && rapid.IntRange(0, 2).Draw(t, "pop") == 0 {
				slices.SortStableFunc(list, func(a, b event) int {
					return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind), cmp.Compare(a.gen, b.gen))
				})
				if got := q.pop(); got.gen != list[0].gen {
					t.Fatalf("%+v, want %+v", got, list[0])
				}
				list = list[1:]
				continue
			}
			made++
			e := event{at: rapid.Int64Range(-3, 3).Draw(t, "at"), kind: what(rapid.IntRange(0, int(hostTimer)).Draw(t, "kind")), gen: made}
			q.push(e)
			list = append(list, e)
		}
		if len(q.list) != len(list) {
			t.Fatalf("%d events left, want %d", len(q.list), len(list))
		}
	})
}

// TestArena: what is given out does not overlap, and stays after the block is full.
func TestArena(t *testing.T) {
	var a arena
	var given [][]byte
	for i := range 3 * arenaBlock / 1000 {
		b := a.alloc(1000)
		for j := range b {
			b[j] = byte(i)
		}
		given = append(given, b)
	}
	for i, b := range given {
		if slices.ContainsFunc(b, func(x byte) bool { return x != byte(i) }) || cap(b) != 1000 {
			t.Fatalf("piece %d was overwritten", i)
		}
	}
	if b := a.alloc(2 * arenaBlock); len(b) != 2*arenaBlock {
		t.Errorf("%d bytes", len(b))
	}
}
