package mtls

import (
	"crypto/sha256"
	"sync"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"
)

// redialers make gRPC's connections anew when this process's certificate, or whom it trusts, is another: new calls take a
// new connection, and those under way end on the old one. So nothing new is on a connection that is cut for the
// authority that its server has shown. To gRPC it is as if a name stood for another address.
type redialers struct {
	i *Identity

	mu   sync.Mutex
	list map[*redialer]struct{}
}

// Scheme implements resolver.Builder: targets are addresses, as gRPC's own resolver of this scheme takes them.
func (*redialers) Scheme() string { return "passthrough" }

// Build implements resolver.Builder.
func (r *redialers) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	d := &redialer{r, target.Endpoint(), cc}
	r.mu.Lock()
	if r.list == nil {
		r.list = map[*redialer]struct{}{}
	}
	r.list[d] = struct{}{}
	r.mu.Unlock()
	d.tell()
	return d, nil
}

// tell has every connection made anew.
func (r *redialers) tell() {
	r.mu.Lock()
	var all []*redialer
	for d := range r.list {
		all = append(all, d)
	}
	r.mu.Unlock()
	for _, d := range all {
		d.tell()
	}
}

// redialer is one client's.
type redialer struct {
	of   *redialers
	addr string
	cc   resolver.ClientConn
}

// certKey is of the attribute that tells an address from the same one before the change.
type certKey struct{}

func (d *redialer) tell() {
	var by [sha256.Size]byte
	if m := d.of.i.current.Load(); m != nil {
		by = sha256.Sum256(m.pem)
	}
	// It fails when gRPC can't use the state, which is one address, or the client is closed.
	_ = d.cc.UpdateState(resolver.State{Addresses: []resolver.Address{{Addr: d.addr, Attributes: attributes.New(certKey{}, by)}}})
}

// ResolveNow implements resolver.Resolver.
func (d *redialer) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (d *redialer) Close() {
	d.of.mu.Lock()
	delete(d.of.list, d)
	d.of.mu.Unlock()
}
