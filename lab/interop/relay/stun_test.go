package relay

import (
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/net/netcheck"
	"tailscale.com/net/netmon"
	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
	"tailscale.com/types/logger"
)

func dialSTUN(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UDPConn)
}

// exchange repeats a binding request until it is answered, because loopback may drop packets under load.
func exchange(conn *net.UDPConn) (netip.AddrPort, error) {
	var addr netip.AddrPort
	buf := make([]byte, 1500)
	id := stun.NewTxID()
	err := harness.Poll(3*time.Second, func() error {
		conn.Write(stun.Request(id))
		conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		got, mapped, err := stun.ParseResponse(buf[:n])
		if err == nil && got != id {
			err = harness.Errorf("answer to another request")
		}
		addr = mapped
		return err
	})
	return addr, err
}

func TestSTUN(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	conn := dialSTUN(t, s.STUNAddr)
	mapped, err := exchange(conn)
	if err != nil {
		t.Fatal(err)
	}
	if mapped.String() != conn.LocalAddr().String() {
		t.Errorf("STUN says %v, the socket is %v", mapped, conn.LocalAddr())
	}

	t.Run("map", func(t *testing.T) {
		node := s.DERPMap(t).Regions[harness.DERPRegion].Nodes[0]
		port := node.STUNPort
		if port == 0 {
			port = 3478
		}
		if want := netip.MustParseAddrPort(s.STUNAddr).Port(); port != int(want) {
			t.Errorf("the DERP map has STUN port %d, want %d", port, want)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		for name, packet := range malformed() {
			conn := dialSTUN(t, s.STUNAddr)
			conn.Write(packet)
			conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if n, err := conn.Read(make([]byte, 1500)); err == nil {
				t.Errorf("%s: answered with %d bytes", name, n)
			}
		}
		if _, err := exchange(dialSTUN(t, s.STUNAddr)); err != nil {
			t.Errorf("a valid request afterwards: %v", err)
		}
	})
	t.Run("many", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 50 {
			conn := dialSTUN(t, s.STUNAddr)
			wg.Go(func() {
				for range 20 {
					if mapped, err := exchange(conn); err != nil || mapped.String() != conn.LocalAddr().String() {
						t.Errorf("%v %v", mapped, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func malformed() map[string][]byte {
	good := func() []byte { return stun.Request(stun.NewTxID()) }
	// sealed modifies a packet and then corrects its fingerprint.
	sealed := func(change func([]byte)) []byte {
		p := good()
		change(p)
		binary.BigEndian.PutUint32(p[len(p)-4:], crc32.ChecksumIEEE(p[:len(p)-8])^0x5354554e)
		return p
	}
	broken := good()
	broken[len(broken)-1] ^= 1
	bare := []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	return map[string][]byte{
		"empty":             {},
		"noise":             []byte("GET / HTTP/1.1\r\n\r\n"),
		"truncated":         good()[:19],
		"wrong cookie":      sealed(func(p []byte) { p[4] ^= 1 }),
		"a response":        stun.Response(stun.NewTxID(), netip.MustParseAddrPort("192.0.2.1:1")),
		"not a binding":     sealed(func(p []byte) { p[1] = 3 }),
		"wrong software":    sealed(func(p []byte) { p[24] ^= 1 }),
		"no attributes":     bare,
		"wrong fingerprint": broken,
		"length too long":   sealed(func(p []byte) { p[3] = 200 }),
	}
}

func TestSTUNOverIPv6(t *testing.T) {
	t.Parallel()
	if l, err := net.ListenPacket("udp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 on loopback here")
	} else {
		l.Close()
	}
	for _, listen := range []string{"[::1]", "[::]"} {
		port := harness.FreePort(t)
		harness.Start(t, harness.Set("derp.server.stun_listen_addr", listen+":"+port))
		targets := []string{"[::1]:" + port}
		if listen == "[::]" {
			targets = append(targets, "127.0.0.1:"+port)
		}
		for _, target := range targets {
			conn := dialSTUN(t, target)
			mapped, err := exchange(conn)
			if err != nil || mapped.String() != conn.LocalAddr().String() {
				t.Errorf("listening on %s, asked at %s: %v %v, the socket is %v", listen, target, mapped, err, conn.LocalAddr())
			}
		}
	}
}

func report(t *testing.T, m *tailcfg.DERPMap) *netcheck.Report {
	t.Helper()
	c := &netcheck.Client{NetMon: netmon.NewStatic(), Logf: logger.Discard, SkipExternalNetwork: true}
	ctx := harness.WithTimeout(t, 20*time.Second)
	if err := c.Standalone(ctx, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	r, err := c.GetReport(ctx, m, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOfficialNetcheck(t *testing.T) {
	t.Parallel()
	s := harness.Start(t)
	m := s.DERPMap(t)
	r := report(t, m)
	if !r.UDP || r.PreferredDERP != harness.DERPRegion || r.GlobalV4.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("report %+v", r)
	}
	t.Run("https", func(t *testing.T) {
		silent := m.Clone()
		silent.Regions[harness.DERPRegion].Nodes[0].STUNPort = -1
		if r := report(t, silent); r.UDP || r.PreferredDERP != harness.DERPRegion {
			t.Errorf("report without UDP %+v", r)
		}
	})
}
