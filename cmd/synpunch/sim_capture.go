package main

import (
	"encoding/binary"
	"os"

	"github.com/synpunch/synpunch/capture"
	"github.com/synpunch/synpunch/lab/sim"
)

// simCapture writes virtual packets to a pcapng file, one interface for each
// lane. Its cooked headers are what a file with several interfaces needs.
type simCapture struct {
	file   *os.File
	writer *capture.Writer
	buf    []byte
	err    error // the first
}

func createSimCapture(name string) (*simCapture, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	var ifaces []capture.Interface
	for _, l := range sim.Lanes() {
		ifaces = append(ifaces, capture.Interface{Name: l.String(), Description: "virtual time", Link: capture.LinkLinuxSLL2})
	}
	w, err := capture.NewWriter(file, ifaces...)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &simCapture{file: file, writer: w}, nil
}

// Given by LINKTYPE_LINUX_SLL2 (www.tcpdump.org/linktypes) and linux/if_ether.h.
const (
	cookedLen      = 20
	cookedOutgoing = 4
	ethernetIPv4   = 0x0800
	ethernetIPv6   = 0x86dd
	arphrdNone     = 0xfffe
)

func (c *simCapture) packet(p sim.Packet) {
	if c.err != nil {
		return
	}
	var head [cookedLen]byte
	binary.BigEndian.PutUint16(head[:], ethernetIPv4)
	if p.Data[0]>>4 == 6 {
		binary.BigEndian.PutUint16(head[:], ethernetIPv6)
	}
	binary.BigEndian.PutUint32(head[4:], uint32(p.Lane)+1)
	binary.BigEndian.PutUint16(head[8:], arphrdNone)
	dir := capture.DirIn
	if p.Out {
		head[10] = cookedOutgoing
		dir = capture.DirOut
	}
	c.buf = append(append(c.buf[:0], head[:]...), p.Data...)
	c.err = c.writer.WritePacket(capture.Packet{
		Time: p.Time, Data: c.buf, Len: len(c.buf), Link: capture.LinkLinuxSLL2, Interface: int(p.Lane), Dir: dir,
	})
}

// Close ends the file; its error is the first of all.
func (c *simCapture) Close() error {
	if err := c.file.Close(); c.err == nil {
		c.err = err
	}
	return c.err
}
