package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// StartInsecureRelay starts a server that takes its relay from a file of derp.paths, with InsecureForTests instead of a certificate pin.
// Clients of 1.80 and the Rust crate `tailscale` do not support pins.
func StartInsecureRelay(t testing.TB, opts ...Option) *Server {
	t.Helper()
	opts = append([]Option{
		Set("derp.server.automatically_add_embedded_derp_region", false),
		Set("derp.paths", []string{"derp.yaml"}),
	}, opts...)
	s := Prepare(t, opts...)
	_, tlsPort, _ := strings.Cut(s.TLSAddr, ":")
	_, stunPort, _ := strings.Cut(s.STUNAddr, ":")
	s.WriteFile("derp.yaml", fmt.Sprintf(`regions:
  %[1]d:
    regionid: %[1]d
    regioncode: headsail
    regionname: Headsail
    nodes:
      - name: %[1]da
        regionid: %[1]d
        hostname: 127.0.0.1
        ipv4: 127.0.0.1
        derpport: %[2]s
        stunport: %[3]s
        insecurefortests: true
`, DERPRegion, tlsPort, stunPort))
	if err := s.Run(); err != nil {
		t.Fatalf("start: %v", err)
	}
	return s
}

// StartZeroConfig starts a server without a config file, as `headsail serve --data-dir DIR` does. Environment variables move its
// listeners to free loopback ports.
func StartZeroConfig(t testing.TB) *Server {
	t.Helper()
	s := Prepare(t)
	if err := os.Remove(filepath.Join(s.Dir, "config.yaml")); err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"HOME=" + s.Dir,
		"HEADSAIL_LISTEN_ADDR=" + s.Host(),
		"HEADSAIL_TLS_LISTEN_ADDR=" + s.TLSAddr,
		"HEADSAIL_METRICS_LISTEN_ADDR=" + s.Metrics,
		"HEADSAIL_DERP_SERVER_STUN_LISTEN_ADDR=" + s.STUNAddr,
		"HEADSAIL_UNIX_SOCKET=" + s.Socket,
	}
	s.args = []string{"serve", "--data-dir", s.DataDir()}
	if err := s.Run(); err != nil {
		t.Fatalf("start without configuration: %v", err)
	}
	return s
}

// DataDir is the data folder of a server without a config file.
func (s *Server) DataDir() string { return filepath.Join(s.Dir, "data") }
