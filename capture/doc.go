// Package capture says what the wire did: it takes packets with kernel
// timestamps, live or from any pcap or pcapng file, and turns them into
// timelines, a verdict on each handshake and a ladder for people.
//
// Files need no privilege and work on every system; live capture needs Linux
// and CAP_NET_RAW.
package capture
