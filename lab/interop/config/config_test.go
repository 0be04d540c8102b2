// Package config starts servers with realistic configurations and checks what clients receive.
package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"headsail.invalid/interop/harness"
	"tailscale.com/tailcfg"
)

func TestMain(m *testing.M) { harness.Main(m) }

// firstMap is the first map of a node with this configuration.
func firstMap(t *testing.T, opts ...harness.Option) *harness.View {
	t.Helper()
	s := harness.Start(t, opts...)
	return s.NewNode(t, "n").Join(s.ReusableKey("alice")).View()
}

func TestDNSSettingsReachClients(t *testing.T) {
	t.Parallel()
	v := firstMap(t,
		harness.Set("dns.override_local_dns", true),
		harness.Set("dns.nameservers.global", []string{"192.0.2.53", "2001:db8::53", "https://dns.nextdns.io/abc123"}),
		harness.Set("dns.nameservers.split", map[string][]string{"corp.example": {"192.0.2.54"}, "two.example": {"192.0.2.55", "192.0.2.56"}}),
		harness.Set("dns.search_domains", []string{"corp.example"}),
		harness.Set("dns.extra_records", []map[string]string{{"name": "Grafana." + harness.BaseDomain, "type": "A", "value": "100.64.0.9"}}),
	)
	d := v.DNS
	if !d.Proxied || !slices.Equal(d.Domains, []string{harness.BaseDomain, "corp.example"}) {
		t.Errorf("proxied %v, domains %v", d.Proxied, d.Domains)
	}
	if len(d.Resolvers) != 3 || d.Resolvers[0].Addr != "192.0.2.53" || !strings.HasPrefix(d.Resolvers[2].Addr, "https://dns.nextdns.io/abc123") {
		t.Errorf("resolvers %v", d.Resolvers)
	}
	if r := d.Routes["corp.example"]; len(r) != 1 || r[0].Addr != "192.0.2.54" {
		t.Errorf("routes %v", d.Routes)
	}
	if len(d.Routes["two.example"]) != 2 {
		t.Errorf("routes %v", d.Routes)
	}
	if own, ok := d.Routes[harness.BaseDomain]; !ok || len(own) != 0 {
		t.Errorf("the base domain's route is %v %v, want it empty because clients resolve it themselves", own, ok)
	}
	want := tailcfg.DNSRecord{Name: "grafana." + harness.BaseDomain, Type: "A", Value: "100.64.0.9"}
	if len(d.ExtraRecords) != 1 || strings.TrimSuffix(d.ExtraRecords[0].Name, ".") != want.Name || d.ExtraRecords[0].Value != want.Value {
		t.Errorf("extra records %v, want %v", d.ExtraRecords, want)
	}
}

func TestDNSWithoutOverrideKeepsLocalResolvers(t *testing.T) {
	t.Parallel()
	v := firstMap(t,
		harness.Set("dns.override_local_dns", false),
		harness.Set("dns.nameservers.global", []string{"192.0.2.53"}),
		harness.Set("dns.nameservers.split", nil),
		harness.Set("dns.nameservers.restricted", nil),
	)
	if len(v.DNS.Resolvers) != 0 || len(v.DNS.FallbackResolvers) != 1 || v.DNS.FallbackResolvers[0].Addr != "192.0.2.53" {
		t.Errorf("resolvers %v, fallback %v", v.DNS.Resolvers, v.DNS.FallbackResolvers)
	}
	off := firstMap(t, harness.Set("dns.magic_dns", false))
	if off.DNS != nil && off.DNS.Proxied {
		t.Errorf("MagicDNS off: %+v", off.DNS)
	}
}

// TestEnvironment checks that variables with both prefixes override the file, and ours override the others.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	v := firstMap(t, harness.Env("HEADSCALE_DNS_BASE_DOMAIN=other.test"))
	if v.Self.Name != "n.other.test." {
		t.Errorf("name %q", v.Self.Name)
	}
	v = firstMap(t, harness.Env("HEADSCALE_DNS_BASE_DOMAIN=other.test"), harness.Env("HEADSAIL_DNS_BASE_DOMAIN=ours.test"))
	if v.Self.Name != "n.ours.test." {
		t.Errorf("name %q", v.Self.Name)
	}
}

func TestPrefixes(t *testing.T) {
	t.Parallel()
	t.Run("sequential", func(t *testing.T) {
		s := harness.Start(t)
		key := s.ReusableKey("alice")
		for i := range 3 {
			n := s.NewNode(t, "n")
			n.Register(key)
			shown, _ := n.APINode()
			if want := netip.MustParseAddr("100.64.0.1").As4()[3] + byte(i); shown.IPAddresses[0].As4()[3] != want {
				t.Errorf("node %d has %v", i, shown.IPAddresses)
			}
		}
	})
	t.Run("random", func(t *testing.T) {
		s := harness.Start(t, harness.Set("prefixes.allocation", "random"))
		key := s.ReusableKey("alice")
		var all []netip.Addr
		for range 5 {
			n := s.NewNode(t, "n")
			n.Register(key)
			shown, _ := n.APINode()
			all = append(all, shown.IPAddresses[0])
			if len(shown.IPAddresses) != 2 || !netip.MustParsePrefix(harness.PrefixV4).Contains(shown.IPAddresses[0]) || !netip.MustParsePrefix(harness.PrefixV6).Contains(shown.IPAddresses[1]) {
				t.Errorf("addresses %v", shown.IPAddresses)
			}
		}
		if slices.ContainsFunc(all, func(a netip.Addr) bool { return a == netip.MustParseAddr("100.64.0.1") }) {
			t.Errorf("random addresses %v", all)
		}
	})
	t.Run("IPv4 only", func(t *testing.T) {
		v := firstMap(t, harness.Set("prefixes.v6", nil))
		if len(v.Self.Addresses) != 1 || !v.Self.Addresses[0].Addr().Is4() {
			t.Errorf("addresses %v", v.Self.Addresses)
		}
	})
	t.Run("full", func(t *testing.T) {
		s := harness.Start(t, harness.Set("prefixes.v4", "100.64.0.0/29"), harness.Set("prefixes.v6", nil))
		key := s.ReusableKey("alice")
		var refused error
		for range 10 {
			if _, refused = s.NewNode(t, "n").TryRegister(key); refused != nil {
				break
			}
		}
		nodes := s.Nodes()
		if refused == nil || len(nodes) < 5 || len(nodes) > 7 {
			t.Errorf("%d nodes in a /29, then %v", len(nodes), refused)
		}
		s.DeleteNode(nodes[2].ID)
		if _, err := s.NewNode(t, "again").TryRegister(key); err != nil {
			t.Errorf("after a deletion: %v", err)
		}
	})
}

// TestDERPSources checks that an unreachable URL is ignored, that a reachable one is merged with files and the embedded relay, and that a
// null region deletes one.
func TestDERPSources(t *testing.T) {
	t.Parallel()
	remote := &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
		1: {RegionID: 1, RegionCode: "one", RegionName: "One", Nodes: []*tailcfg.DERPNode{{Name: "1a", RegionID: 1, HostName: "derp1.example"}}},
		2: {RegionID: 2, RegionCode: "two", RegionName: "Two", Nodes: []*tailcfg.DERPNode{{Name: "2a", RegionID: 2, HostName: "derp2.example"}}},
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(remote) })}
	go web.Serve(l)
	t.Cleanup(func() { web.Close() })
	s := harness.Start(t,
		harness.Set("derp.urls", []string{"http://127.0.0.1:1/unreachable", "http://" + l.Addr().String() + "/derpmap"}),
		harness.Set("derp.paths", []string{"derp.yaml"}),
		harness.File("derp.yaml", "regions:\n  1: null\n  3:\n    regionid: 3\n    regioncode: three\n    regionname: Three\n    nodes:\n      - name: 3a\n        regionid: 3\n        hostname: derp3.example\n"),
	)
	st := s.NewNode(t, "n").Join(s.ReusableKey("alice"))
	st.Wait(t, "the merged map", 15*time.Second, func(v *harness.View) bool {
		r := v.DERPMap.Regions
		return r[1] == nil && r[2] != nil && r[3] != nil && r[3].Nodes[0].HostName == "derp3.example" && r[harness.DERPRegion] != nil
	})
	st.SameAsFresh(t, "derp map")
}

// certificate creates a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (certPEM, keyPEM string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "interop"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(certPEM))
	return certPEM, keyPEM, pool
}

// TestOwnCertificate checks that listen_addr serves TLS with a configured certificate, and that the DERP map then has no pin.
func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	certPEM, keyPEM, pool := certificate(t)
	s := harness.Prepare(t, harness.Set("tls_cert_path", "cert.pem"), harness.Set("tls_key_path", "key.pem"), harness.Set("tls_listen_addr", nil),
		harness.File("cert.pem", certPEM), harness.File("key.pem", keyPEM))
	s.Reconfigure("server_url", "https://"+s.Host())
	if err := s.Spawn(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	harness.Eventually(t, 15*time.Second, "health over TLS", func() error {
		res, err := client.Get("https://" + s.Host() + "/health")
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return harness.Errorf("%s", res.Status)
		}
		return nil
	})
	res, err := client.Get("https://" + s.Host() + "/key?v=142")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("key over TLS: %v %v", res, err)
	}
	res.Body.Close()
}

// TestRefusedConfigurations checks that invalid configurations are refused at startup with a message that names the key.
func TestRefusedConfigurations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key   string
		value any
		words string
	}{
		"no server_url":            {"server_url", nil, "server_url"},
		"server_url without http":  {"server_url", "127.0.0.1:80", "server_url"},
		"no prefix":                {"prefixes.v4", "not a prefix", "prefixes.v4"},
		"unknown database":         {"database.type", "oracle", "oracle"},
		"override without servers": {"dns.override_local_dns", true, "nameservers"},
		"removed key":              {"oidc.strip_email_domain", true, "strip_email_domain"},
		"allocation":               {"prefixes.allocation", "by-dice", "by-dice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Prepare(t, harness.Set(c.key, c.value))
			if err := s.Spawn(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s.Exited():
			case <-time.After(10 * time.Second):
				t.Fatal("the server started")
			}
			if s.ExitCode() == 0 || !strings.Contains(s.Log(), c.words) {
				t.Errorf("status %d: %s", s.ExitCode(), s.Log())
			}
			if out, err := s.CLI("configtest"); err == nil {
				t.Errorf("configtest accepts it: %s", out)
			}
		})
	}
}

func TestUnknownKeyWarns(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Set("listen_adr", "127.0.0.1:1"))
	harness.Eventually(t, 5*time.Second, "a warning with a suggestion", func() error {
		if log := s.Log(); !strings.Contains(log, "listen_adr") || !strings.Contains(log, "listen_addr") {
			return harness.Errorf("%s", s.LogTail(10))
		}
		return nil
	})
}
