package adminapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serve returns a client of a handler, with a list of the requests that it got.
func serve(t *testing.T, h http.HandlerFunc) (*Client, *[]string) {
	t.Helper()
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.Path)
		h(w, r)
	}))
	t.Cleanup(server.Close)
	c, err := NewClient(server.URL, "token")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, &got
}

// A path that a server or proxy would shorten names something else: revoking token ".." of a namespace
// would delete the namespace.
func TestPathsThatWouldBeShortened(t *testing.T) {
	c, got := serve(t, func(http.ResponseWriter, *http.Request) {})
	ctx := t.Context()
	for _, bad := range []string{"", ".", ".."} {
		for field, call := range map[string]func() error{
			"token id": func() error { _, err := c.RevokeToken(ctx, "acme", bad); return err },
			"namespace": func() error {
				_, err := c.DeleteNamespace(ctx, bad)
				_, tokens := c.Tokens(ctx, bad)
				_, create := c.CreateToken(ctx, bad, CreateToken{})
				if tokens == nil || create == nil {
					return nil
				}
				_, rotate := c.RotateToken(ctx, bad, "tok", RotateToken{})
				if rotate == nil {
					return nil
				}
				return err
			},
			"node id": func() error { _, err := c.RemoveNode(ctx, bad); return err },
		} {
			if err := call(); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s %q: %v", field, bad, err)
			}
		}
	}
	if len(*got) != 0 {
		t.Errorf("sent %q", *got)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	c, got := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := c.DeleteNamespace(t.Context(), "acme")
	if p, ok := errors.AsType[*Problem](err); !ok || p.Status != http.StatusTemporaryRedirect {
		t.Errorf("answered %v", err)
	}
	if len(*got) != 1 {
		t.Errorf("sent %q", *got)
	}
}
