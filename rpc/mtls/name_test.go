package mtls

import (
	"crypto/x509"
	"errors"
	"net/url"
	"testing"
)

// TestNames are the names that certificates may have, and those that they may not, even if the authority has signed them.
func TestNames(t *testing.T) {
	for _, tt := range []struct {
		uris []string
		good bool
	}{
		{[]string{"atoll://c1/data/n1"}, true},
		{[]string{"atoll://c1/meta/n1", "atoll://c1/data/n1"}, true},
		{nil, false},
		{[]string{"atoll://c1/data/n1", "atoll://c2/data/n1"}, false},
		{[]string{"atoll://c1/data/n1", "atoll://c1/meta/n2"}, false},
		{[]string{"atoll://c1/data/n1", "https://c1/data/n1"}, false},
		{[]string{"atoll://c1/king/n1"}, false},
		{[]string{"atoll://c1/unknown/n1"}, false},
		{[]string{"atoll://c1/data/"}, false},
		{[]string{"atoll://c1/data"}, false},
		{[]string{"atoll:///data/n1"}, false},
		{[]string{"atoll://c1/data/n1/meta"}, false},
		{[]string{"atoll://c1/data/a b"}, false},
	} {
		cert := &x509.Certificate{}
		for _, s := range tt.uris {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, u)
		}
		if n, err := NameOf(cert); (err == nil) != tt.good || err != nil && !errors.Is(err, ErrForeign) || err == nil && n.NodeID != "n1" {
			t.Errorf("%q: %+v, %v", tt.uris, n, err)
		}
	}
}
