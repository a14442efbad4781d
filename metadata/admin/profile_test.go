package admin

import (
	"net/http"
	"testing"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
)

// Profiles are for admins alone, and take no longer than an answer may.
func TestProfiles(t *testing.T) {
	w := newWorld(t)
	operator, err := w.client.CreateToken(t.Context(), raftfsm.DefaultNamespace, adminapi.CreateToken{Role: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/pprof/heap", "/v1/pprof/cmdline", "/v1/pprof/goroutine?debug=2", "/v1/pprof/profile?seconds=1"} {
		if path != "/v1/pprof/profile?seconds=1" {
			if resp, _ := w.request(http.MethodGet, path, ""); resp.StatusCode != 200 {
				t.Errorf("%s: status %d", path, resp.StatusCode)
			}
		}
		if resp, p := w.request(http.MethodGet, path, "", "Authorization: Bearer "+operator.Token.Secret); resp.StatusCode != 403 {
			t.Errorf("%s as an operator: %+v", path, p)
		}
		if resp, p := w.request(http.MethodGet, path, "", "Authorization"); resp.StatusCode != 401 {
			t.Errorf("%s without a token: %+v", path, p)
		}
	}
	for _, seconds := range []string{"0", "61", "x"} {
		if resp, p := w.request(http.MethodGet, "/v1/pprof/profile?seconds="+seconds, ""); resp.StatusCode != 422 {
			t.Errorf("seconds=%s: %+v", seconds, p)
		}
	}
}

// What a page of another origin sends is refused before anything looks at it.
func TestCrossOrigin(t *testing.T) {
	w := newWorld(t)
	before := len(w.proposed)
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example"} {
		if resp, p := w.request(http.MethodPost, "/v1/namespaces", `{"name":"x"}`, header); resp.StatusCode != 403 || p.Detail == "" {
			t.Errorf("%s: %+v", header, p)
		}
	}
	if len(w.proposed) != before {
		t.Error("it was done")
	}
}
