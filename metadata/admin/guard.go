package admin

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// lookupsMax bounds how many unknown tokens are looked up at the leader at once: whoever guesses
// tokens must not keep the leader busy.
const lookupsMax = 16

// roleLeader is how consensus names the leader.
const roleLeader = "leader"

// caller is who sent a request, and the linearizable state in which its token was found good. Handlers
// answer from that state.
type caller struct {
	state   *raftfsm.State
	tokenID string
	source  string // address that the request came from
	role    atollpb.Role
	digest  raftfsm.Digest // of the request
}

type callerKey struct{}

func callerOf(ctx context.Context) caller {
	c, ok := ctx.Value(callerKey{}).(caller)
	if !ok {
		panic("admin: a handler under /v1 without a caller")
	}
	return c
}

// secured reports whether a path takes an admin token.
func secured(path string) bool { return strings.HasPrefix(path, "/v1/") }

// guard stands before every operation: it checks the Host header and the token, and gives what no
// operation matches the same kind of answer as everything else.
func (a *api) guard(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !a.knowsHost(r.Host) {
			writeProblem(w, newProblem(adminapi.CodeWrongHost, "host %q is not one of this node's names", r.Host))
			return
		}
		// ServeMux would redirect to the clean path, and a client that follows would repeat a change there.
		if path.Clean(r.URL.Path) != r.URL.Path {
			writeProblem(w, newProblem(adminapi.CodeNotFound, "there is nothing at %s", r.URL.Path))
			return
		}
		if secured(r.URL.Path) {
			c, p := a.receive(w, r)
			if p != nil {
				writeProblem(w, p)
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
		}
		if _, pattern := mux.Handler(r); pattern == "" {
			unmatched(mux, w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// receive returns the caller of a request under /v1 and takes its body, in this order: who has no token
// makes this node read nothing.
func (a *api) receive(w http.ResponseWriter, r *http.Request) (caller, *problem) {
	c, err := a.authenticate(r)
	if err != nil {
		return caller{}, a.problem(err)
	}
	body, p := takeBody(w, r)
	if p != nil {
		return caller{}, p
	}
	if p := checkIdempotencyKey(r.Header.Get(adminapi.IdempotencyKey)); p != nil {
		return caller{}, p
	}
	c.digest = digestOf(r, body, c.tokenID)
	return c, nil
}

// digestOf tells a request from others. How long to wait for data nodes is no part of it.
func digestOf(r *http.Request, body []byte, tokenID string) raftfsm.Digest {
	parts := []string{r.Method, r.URL.Path, string(body), tokenID}
	query := r.URL.Query()
	query.Del("wait")
	query.Del("wait_ms")
	if match := r.Header.Get(adminapi.IfMatch); len(query) > 0 || match != "" {
		parts = append(parts, query.Encode(), match)
	}
	return raftfsm.DigestOf(parts...)
}

// checkIdempotencyKey refuses a key that is too short to protect the secret that is made from it.
func checkIdempotencyKey(key string) *problem {
	if key == "" || len(key) >= adminapi.IdempotencyKeyBytesMin && len(key) <= adminapi.IdempotencyKeyBytesMax {
		return nil
	}
	p := newProblem(adminapi.CodeMalformed, "%s is %d bytes long: it takes %d to %d bytes that nobody can guess, such as a random UUID",
		adminapi.IdempotencyKey, len(key), adminapi.IdempotencyKeyBytesMin, adminapi.IdempotencyKeyBytesMax)
	p.Errors = []adminapi.ProblemField{{Message: p.Detail, Location: "header." + adminapi.IdempotencyKey}}
	return p
}

// knowsHost guards against DNS rebinding: a page in a browser can point a name of its own at a loopback
// address, but it can neither choose an address literal nor localhost.
func (a *api) knowsHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	return net.ParseIP(host) != nil || slices.ContainsFunc(a.hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// authenticate returns the caller of a request under /v1. The token is checked in a linearizable state,
// so that a revoked one is refused by every metadata node once the revocation was answered.
func (a *api) authenticate(r *http.Request) (caller, error) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" || len(secret) > adminapi.SecretBytesMax {
		return caller{}, newProblem(adminapi.CodeUnauthorized, "a token is needed: Authorization: Bearer <token>")
	}
	if findToken(a.Consensus.State(), secret) == nil {
		// A node that is behind may not have heard of the token yet; who leads is not, once it has applied the log.
		if s := a.Consensus.Status(); s.Role == roleLeader && !s.CatchingUp {
			return caller{}, badToken()
		}
		select {
		case a.lookups <- struct{}{}:
			defer func() { <-a.lookups }()
		default:
			return caller{}, consensus.ErrTooMuch
		}
	}
	state, err := a.Consensus.Read(r.Context())
	if err != nil {
		return caller{}, err
	}
	token := findToken(state, secret)
	if token == nil || token.ExpiresMs != 0 && token.ExpiresMs <= a.Now().UnixMilli() {
		return caller{}, badToken()
	}
	if rank(token.Role) == 0 || token.NamespaceId != state.Cluster().GetDefaultNamespaceId() {
		return caller{}, newProblem(adminapi.CodeForbidden,
			"the token's role, %s, is for Redis clients: this API takes a token of the default namespace with the role viewer, operator or admin", roleWord(token.Role))
	}
	return caller{state: state, tokenID: token.Id, role: token.Role, source: r.RemoteAddr}, nil
}

func badToken() error {
	return newProblem(adminapi.CodeUnauthorized, "the token is unknown, revoked or expired")
}

// findToken looks a secret up by its hash, so the time that it takes says nothing about other secrets.
func findToken(s *raftfsm.State, secret string) *atollpb.Token {
	cluster := s.Cluster()
	if cluster == nil {
		return nil
	}
	return s.TokenByHash(consensus.HashSecret(cluster.TokenKey, secret))
}

// unmatched answers a path or method that no operation has.
func unmatched(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	probe := &discard{header: http.Header{}}
	mux.ServeHTTP(probe, r)
	p := newProblem(adminapi.CodeNotFound, "there is nothing at %s", r.URL.Path)
	if allow := probe.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		p = newProblem(adminapi.CodeMethod, "%s is not possible here: use %s", r.Method, allow)
	}
	writeProblem(w, p)
}

// discard is a ResponseWriter that keeps the header alone.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func writeProblem(w http.ResponseWriter, p *problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	maps.Copy(w.Header(), p.GetHeaders())
	w.WriteHeader(p.Status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if err := e.Encode(p); err != nil {
		return // the client is gone
	}
}
