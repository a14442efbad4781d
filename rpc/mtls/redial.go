package mtls

import (
	"sync"

	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"
)

// redialers make gRPC's connections anew when this process's certificate is another one: new calls take a connection that
// shows it, and those under way end on the old one. To gRPC it is as if a name stood for another address.
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

// certKey is of the attribute that tells an address by one certificate from the same by another.
type certKey struct{}

func (d *redialer) tell() {
	shown := ""
	if m := d.of.i.current.Load(); m != nil {
		shown = m.leaf.SerialNumber.String()
	}
	// It fails when gRPC can't use the state, which is one address, or the client is closed.
	_ = d.cc.UpdateState(resolver.State{Addresses: []resolver.Address{{Addr: d.addr, Attributes: attributes.New(certKey{}, shown)}}})
}

// ResolveNow implements resolver.Resolver.
func (d *redialer) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements resolver.Resolver.
func (d *redialer) Close() {
	d.of.mu.Lock()
	delete(d.of.list, d)
	d.of.mu.Unlock()
}
