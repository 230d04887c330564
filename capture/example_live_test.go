package capture_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/rawtcp"
)

// Record what passes one interface for a second. It needs CAP_NET_RAW.
func ExampleOpen() {
	live, err := capture.Open("eth0", &capture.Config{Snaplen: 128})
	if err != nil {
		log.Fatal(err)
	}
	defer live.Close()
	file, err := os.Create("eth0.pcapng")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	w, err := capture.NewWriter(file, live.Interfaces()...)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for {
		p, err := live.Next(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		if err := w.WritePacket(p); err != nil {
			log.Fatal(err)
		}
	}
	received, dropped, err := live.Stats()
	if err != nil {
		log.Fatal(err)
	}
	if err := w.WriteStats(0, time.Now(), received, dropped); err != nil {
		log.Fatal(err)
	}
	fmt.Println(received, "packets,", dropped, "of them lost")
}

// Sleep until a packet may come, then spin until it is there: the way to see
// it within a microsecond of the kernel.
func ExampleLive_Poll() {
	live, err := capture.Open("eth0", &capture.Config{Mode: capture.ModeReact, InboundOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer live.Close()
	expected := time.Now().Add(100 * time.Millisecond)
	if _, err := live.Wait(expected); err != nil {
		log.Fatal(err)
	}
	for time.Since(expected) < time.Millisecond {
		p, ok := live.Poll()
		if !ok {
			continue
		}
		if s, err := rawtcp.Parse(p.Data); err == nil {
			fmt.Println(p.Time, &s)
		}
	}
}
