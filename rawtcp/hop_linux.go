package rawtcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// hopPatience is how long OpenBlast waits for an Ethernet address. The kernel asks
// three times, a second apart (arp(7), mcast_solicit).
const hopPatience = 3 * time.Second

// hop finds the next hop on the way to the peer.
func (b *blast) hop(ctx context.Context, cfg *BlastConfig) (hop, error) {
	local, remote := b.fan.cfg.Local.Addr(), b.fan.cfg.Remote.Addr()
	name := cfg.Interface
	if name == "" {
		name = cfg.Conn.Interface
	}
	var index int
	if name != "" {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return hop{}, fmt.Errorf("interface %s: %w", name, err)
		}
		index = ifi.Index
	}
	rt, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return hop{}, fmt.Errorf("ask for the route: %w", err)
	}
	defer rt.Close()
	index, gateway, err := routeTo(rt, local, remote, index, cfg.Conn.Mark)
	if err != nil {
		return hop{}, fmt.Errorf("the route from %v: %w", local, err)
	}
	ifi, err := net.InterfaceByIndex(index)
	if err != nil {
		return hop{}, fmt.Errorf("interface %d: %w", index, err)
	}
	if len(ifi.HardwareAddr) != 6 || ifi.Flags&(net.FlagLoopback|net.FlagPointToPoint) != 0 {
		return hop{}, fmt.Errorf("interface %s: %w", ifi.Name, errNotEthernet)
	}
	h := hop{index: index, from: ifi.HardwareAddr, to: cfg.NextHop}
	if len(h.to) == 6 {
		return h, nil
	}
	if h.to, err = b.neighbour(ctx, rt, index, gateway, cfg); err != nil {
		return hop{}, fmt.Errorf("the Ethernet address of %v on %s: %w", gateway, ifi.Name, err)
	}
	return h, nil
}

// routeTo asks the kernel which device leads from local to remote, and through
// whom (rtnetlink(7), RTM_GETROUTE).
func routeTo(rt *netlink.Conn, local, remote netip.Addr, index int, mark uint32) (oif int, gateway netip.Addr, err error) {
	family, size := byte(unix.AF_INET), byte(32)
	if remote.Is6() {
		family, size = unix.AF_INET6, 128
	}
	attrs := netlink.NewAttributeEncoder()
	attrs.Bytes(unix.RTA_DST, remote.AsSlice())
	attrs.Bytes(unix.RTA_SRC, local.AsSlice())
	if index != 0 {
		attrs.Uint32(unix.RTA_OIF, uint32(index))
	}
	if mark != 0 {
		attrs.Uint32(unix.RTA_MARK, mark)
	}
	list, err := attrs.Encode()
	if err != nil {
		return 0, gateway, err
	}
	// struct rtmsg: family, dst_len, src_len, ...
	body := append([]byte{family, size, size, 0, 0, 0, 0, 0, 0, 0, 0, 0}, list...)
	answers, err := rt.Execute(netlink.Message{Header: netlink.Header{Type: unix.RTM_GETROUTE, Flags: netlink.Request}, Data: body})
	if err != nil {
		return 0, gateway, err
	}
	gateway = remote
	for _, m := range answers {
		if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
			continue
		}
		if kind := m.Data[7]; kind != unix.RTN_UNICAST {
			return 0, gateway, fmt.Errorf("%v is not another host's address: %w", remote, errNotEthernet)
		}
		dec, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofRtMsg:])
		if err != nil {
			return 0, gateway, err
		}
		for dec.Next() {
			switch dec.Type() {
			case unix.RTA_OIF:
				oif = int(dec.Uint32())
			case unix.RTA_GATEWAY:
				gateway, _ = netip.AddrFromSlice(dec.Bytes())
			case unix.RTA_VIA: // struct rtvia: an IPv6 gateway of an IPv4 route
				if v := dec.Bytes(); len(v) > 2 {
					gateway, _ = netip.AddrFromSlice(v[2:])
				}
			}
		}
		if err := dec.Err(); err != nil {
			return 0, gateway, err
		}
	}
	if oif == 0 {
		return 0, gateway, unix.ENETUNREACH
	}
	return oif, gateway, nil
}

// neighbour returns the Ethernet address of the gateway, which the kernel is made
// to ask for by a packet if it does not know it.
func (b *blast) neighbour(ctx context.Context, rt *netlink.Conn, index int, gateway netip.Addr, cfg *BlastConfig) (net.HardwareAddr, error) {
	news, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: unix.RTMGRP_NEIGH})
	if err != nil {
		return nil, err
	}
	defer news.Close()
	family := byte(unix.AF_INET)
	if gateway.Is6() {
		family = unix.AF_INET6
	}
	dump := netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETNEIGH, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{family}, make([]byte, unix.SizeofNdMsg-1)...),
	}
	table, err := rt.Execute(dump)
	if err != nil {
		return nil, err
	}
	if mac, _, err := neighbourIn(table, index, gateway); mac != nil || err != nil {
		return mac, err
	}
	if err := b.knock(cfg); err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, hopPatience)
	defer cancel()
	stop := context.AfterFunc(wait, func() { news.SetReadDeadline(time.Now()) })
	defer stop()
	for {
		changes, err := news.Receive()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if wait.Err() != nil {
			return nil, errNoAnswer
		}
		if err != nil {
			return nil, err
		}
		if mac, failed, err := neighbourIn(changes, index, gateway); mac != nil || err != nil {
			return mac, err
		} else if failed {
			return nil, errNoAnswer
		}
	}
}

// errNoAnswer: the kernel has asked for an Ethernet address in vain.
var errNoAnswer = fmt.Errorf("no answer: %w", unix.EHOSTUNREACH)

// neighbourIn looks for a usable entry (struct ndmsg) among messages. It has failed if the
// kernel has given up asking.
func neighbourIn(msgs []netlink.Message, index int, gateway netip.Addr) (_ net.HardwareAddr, failed bool, _ error) {
	const usable = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_STALE | unix.NUD_DELAY | unix.NUD_PROBE
	for _, m := range msgs {
		if m.Header.Type != unix.RTM_NEWNEIGH || len(m.Data) < unix.SizeofNdMsg || int(binary.NativeEndian.Uint32(m.Data[4:])) != index {
			continue
		}
		state := binary.NativeEndian.Uint16(m.Data[8:])
		dec, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofNdMsg:])
		if err != nil {
			return nil, false, err
		}
		var addr netip.Addr
		var mac net.HardwareAddr
		for dec.Next() {
			switch dec.Type() {
			case unix.NDA_DST:
				addr, _ = netip.AddrFromSlice(dec.Bytes())
			case unix.NDA_LLADDR:
				mac = net.HardwareAddr(dec.Bytes())
			}
		}
		if err := dec.Err(); err != nil {
			return nil, false, err
		}
		if addr == gateway && state&usable != 0 && len(mac) == 6 {
			return mac, false, nil
		}
		failed = failed || addr == gateway && state == unix.NUD_FAILED
	}
	return nil, failed, nil
}

// knock sends the first SYN through the kernel's routing.
func (b *blast) knock(cfg *BlastConfig) error {
	network := "ip4"
	if b.fan.cfg.Remote.Addr().Is6() {
		network = "ip6"
	}
	conn := cfg.Conn
	if cfg.Interface != "" {
		conn.Interface = cfg.Interface
	}
	c, err := Open(network, &conn)
	if err != nil {
		return err
	}
	syn := b.fan.SYN(time.Now(), 0)
	pkt, err := syn.Append(make([]byte, 0, MaxHeader))
	if err == nil {
		err = c.Send(pkt)
	}
	return errors.Join(err, c.Close())
}
