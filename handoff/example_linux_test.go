package handoff_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
	"github.com/synpunch/synpunch/rawtcp"
)

// A guard holds a port without answering anybody.
func ExampleOpenGuard() {
	guard, err := handoff.OpenGuard(netip.MustParseAddrPort("127.0.0.1:0"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer guard.Close()
	_, err = net.Listen("tcp", guard.LocalAddr().String())
	fmt.Println("listen beside it:", errors.Is(err, unix.EADDRINUSE))
	// Output: listen beside it: true
}

// A handshake made with raw packets becomes an ordinary connection. It takes
// CAP_NET_RAW and CAP_NET_ADMIN.
func ExampleRepair() {
	local := netip.MustParseAddrPort("192.0.2.1:4000")
	remote := netip.MustParseAddrPort("198.51.100.2:5000")

	guard, err := handoff.OpenGuard(local, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer guard.Close()
	repair, err := handoff.PrepareRepair(local, remote, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer repair.Close()

	handshake, late := punch(local, remote)
	conn, err := repair.Install(handshake.Transfer(time.Now()), late)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintln(conn, "hello")
}

// punch stands for the caller's loop over packets: it opens the flow, and late
// feeds the machine with what has come since.
func punch(_, _ netip.AddrPort) (*rawtcp.Handshake, func(rawtcp.Seq) []byte) { return nil, nil }

// The kernel makes the SYN, and copies of it are sent at the right moment. It
// takes CAP_NET_RAW.
func ExamplePark() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	local := netip.MustParseAddrPort("192.0.2.1:4000")
	remote := netip.MustParseAddrPort("198.51.100.2:5000")
	raw, err := rawtcp.Open("ip4", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer raw.Close()
	parked, err := handoff.Park(ctx, local, remote, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer parked.Close()
	if err := parked.Release(); err != nil {
		log.Fatal(err)
	}
	syn := parked.SYN()
	packet, err := syn.Append(nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := raw.Send(packet); err != nil { // at the instant
		log.Fatal(err)
	}
	if err := parked.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	conn, err := parked.Conn()
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
}

// Standard input and output joined to a connection, as nc does.
func ExampleJoin() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		peer, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintln(peer, "welcome")
		peer.Close()
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	_, received, err := handoff.Join(context.Background(), conn.(*net.TCPConn), strings.NewReader(""), os.Stdout)
	fmt.Println(received, err)
	// Output:
	// welcome
	// 8 <nil>
}
