package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/synpunch/synpunch/capture"
)

// A bare SYN from 192.0.2.1:5000 to 198.51.100.2:6000, from the IP header on.
var exampleSYN = []byte{
	0x45, 0x00, 0x00, 0x28, 0x00, 0x00, 0x40, 0x00, 0x40, 0x06, 0x4e, 0x99, 192, 0, 2, 1, 198, 51, 100, 2,
	0x13, 0x88, 0x17, 0x70, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x50, 0x02, 0xfa, 0xf0, 0x9d, 0xc1, 0x00, 0x00,
}

// Write a capture with a comment on its packet, then read it back.
func Example() {
	var file bytes.Buffer
	w, err := capture.NewWriter(&file, capture.Interface{Name: "eth0", Link: capture.LinkRaw})
	if err != nil {
		log.Fatal(err)
	}
	due := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	err = w.WritePacket(capture.Packet{
		Time:    due.Add(1800 * time.Nanosecond),
		Data:    exampleSYN,
		Link:    capture.LinkRaw,
		Dir:     capture.DirOut,
		Comment: "SYN, due 12:00:00.000000, sent +1.8 µs",
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := w.WriteStats(0, due.Add(time.Second), 1, 0); err != nil {
		log.Fatal(err)
	}

	r, err := capture.NewReader(&file)
	if err != nil {
		log.Fatal(err)
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		ip, err := p.IP()
		if err != nil {
			continue // another protocol
		}
		fmt.Println(p.Time.UTC().Format("15:04:05.000000000"), r.Interfaces()[p.Interface].Name, p.Dir, len(ip), "bytes:", p.Comment)
	}
	dropped, _ := r.Dropped()
	fmt.Println("dropped:", dropped)
	// Output:
	// 12:00:00.000001800 eth0 out 40 bytes: SYN, due 12:00:00.000000, sent +1.8 µs
	// dropped: 0
}

// A damaged file gives what can be read, then says where it ends to make sense.
func ExampleCorruptError() {
	var file bytes.Buffer
	w, err := capture.NewWriter(&file, capture.Interface{Link: capture.LinkRaw})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		if err := w.WritePacket(capture.Packet{Data: exampleSYN, Link: capture.LinkRaw}); err != nil {
			log.Fatal(err)
		}
	}
	file.Truncate(file.Len() - 10) // as if the disk had been full

	r, err := capture.NewReader(&file)
	if err != nil {
		log.Fatal(err)
	}
	packets := 0
	for {
		_, err = r.Next()
		if err != nil {
			break
		}
		packets++
	}
	var damage *capture.CorruptError
	fmt.Println(packets, "packet, then:", errors.As(err, &damage) && damage.Truncated, damage.Reason)
	// Output:
	// 1 packet, then: true the last block is cut
}
