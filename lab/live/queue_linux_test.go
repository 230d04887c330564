package live

import (
	"bytes"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// The queue against a plain list of copies.
func TestQueueAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		size := os.Getpagesize()
		if err := q.open(size); err != nil {
			t.Fatal(err)
		}
		defer q.close()
		type entry struct {
			frame []byte
			due   int64
		}
		var list []entry
		bytesIn := 0
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				n := rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(1, size+10)).Draw(t, "length")
				e := entry{bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n), rapid.Int64().Draw(t, "due")}
				if q.push(e.frame, ticket{due: e.due}) {
					list = append(list, e)
					bytesIn += n
					return
				}
				if len(list) == 0 && n <= size {
					t.Fatalf("an empty queue of %d bytes refuses %d", size, n)
				}
				// The end of the memory may have been skipped once, by a frame in the queue, and would be
				// by this one if it is shorter.
				longest := 0
				for _, e := range list {
					longest = max(longest, len(e.frame))
				}
				if bytesIn+longest+2*n <= size {
					t.Fatalf("a queue with %d of %d bytes refuses %d", bytesIn, size, n)
				}
			},
			"pop": func(t *rapid.T) {
				if len(list) == 0 {
					t.Skip("empty")
				}
				f, tk := q.front()
				if tk.due != list[0].due || !bytes.Equal(f, list[0].frame) {
					t.Fatalf("the front is %d bytes of %x, due %d", len(f), f[0], tk.due)
				}
				q.pop()
				bytesIn -= len(list[0].frame)
				list = list[1:]
			},
			"": func(t *rapid.T) {
				tk, ok := q.peek()
				if ok != (len(list) > 0) || ok && tk.due != list[0].due {
					t.Fatalf("peek: %v, %v with %d in", tk, ok, len(list))
				}
			},
		})
	})
}

func TestQueueIsBoundedInFrames(t *testing.T) {
	var q queue
	if err := q.open(queueSize); err != nil {
		t.Fatal(err)
	}
	defer q.close()
	n := 0
	for q.push([]byte{1}, ticket{}) {
		n++
	}
	if n != queueLen {
		t.Errorf("%d frames went in, want %d", n, queueLen)
	}
}

func TestRingLayout(t *testing.T) {
	page := os.Getpagesize()
	for _, c := range []struct{ frame, want int }{{laneSlot, 1}, {laneSlot, 64}, {laneSlot, 4096}, {smallFrame, smallSlots}, {largeFrame, largeSlots}, {largeFrame, 1}} {
		per, block, slots := layout(c.frame, c.want)
		// What packet_set_ring demands of a ring.
		if block%page != 0 || per != block/c.frame || slots%per != 0 || slots < c.want || c.frame%16 != 0 {
			t.Errorf("%+v: %d slots of a block of %d bytes, %d in all", c, per, block, slots)
		}
	}
}
