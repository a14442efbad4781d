// Package admin is the HTTP API of the metadata service: namespaces, tokens, data nodes, groups and the
// cluster, under /v1, described at /openapi.json. Any metadata node answers it; what it answers is
// linearizable.
package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/metadata/control"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
)

// Consensus is the replicated state.
type Consensus interface {
	Propose(context.Context, raftfsm.Command, consensus.ProposeOptions) (raftfsm.Result, error)
	Read(context.Context) (*raftfsm.State, error) // linearizable
	State() *raftfsm.State                        // this node's own, perhaps behind
	Feed() *raftfsm.Feed                          // of its changes
	RemoveVoter(ctx context.Context, id string, o consensus.ProposeOptions) error
	Transfer(ctx context.Context, id string) error
	Status() consensus.Status
}

// Control knows what the data nodes report, and moves primaries.
type Control interface {
	Reports(context.Context) ([]control.Report, error)
	Uses(ctx context.Context, namespaceID uint64) ([]control.Report, error)
	UsesOf(ctx context.Context, namespaceIDs []uint64) ([]control.Report, error)
	WaitApplied(ctx context.Context, revision uint64, d time.Duration) control.Lag
	Promote(ctx context.Context, target string, acceptLoss bool, o consensus.ProposeOptions) (raftfsm.Result, error)
}

// Config is what the API stands on. Every field is required but Now and those that say what their zero is.
type Config struct {
	Consensus      Consensus
	Control        Control
	HTTPAddr       string           // advertised host:port; its host is accepted in the Host header
	Version        string           // of the program
	Now            func() time.Time // nil: time.Now
	Log            *slog.Logger
	DeleteGrace    time.Duration // for which a deleted namespace can be undeleted; 0: not at all
	SecretBytesMin int           // of a secret that a caller chooses; 0: adminapi.SecretBytesMin
	Metrics        *Metrics      // nil: requests are not counted
}

// The server's bounds.
const (
	headerBytesMax = 16 << 10
	headerWait     = 5 * time.Second
	requestWait    = 15 * time.Second // to read a whole request
	replyWait      = 90 * time.Second // to answer it: above the longest wait_ms and a proposal's own limit
	idleWait       = 2 * time.Minute
)

type api struct {
	Config
	hosts   []string
	lookups chan struct{} // held while an unknown token is looked up beyond this node
	streams chan struct{} // held by each stream
}

// New returns the handler of the whole HTTP listener.
func New(c Config) (http.Handler, error) {
	host, _, err := net.SplitHostPort(c.HTTPAddr)
	if err != nil {
		return nil, errors.Join(errors.New("advertised HTTP address: it takes host:port"), err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.SecretBytesMin == 0 {
		c.SecretBytesMin = adminapi.SecretBytesMin
	}
	a := &api{Config: c, hosts: []string{"localhost", host}, lookups: make(chan struct{}, lookupsMax), streams: make(chan struct{}, streamsMax)}

	mux := http.NewServeMux()
	a.registerAll(mux)
	// The token is in a header, which no page of another origin can set; this refuses what such a page sends all the same.
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, newProblem(adminapi.CodeForbidden, "the request comes from a page of another origin"))
	}))
	handler := origins.Handler(a.guard(mux))
	if a.Metrics != nil {
		handler = a.Metrics.Around(handler, func(r *http.Request) string {
			_, pattern := mux.Handler(r)
			return pattern
		})
	}
	return handler, nil
}

// registerAll adds every operation, and returns their description.
func (a *api) registerAll(mux *http.ServeMux) *huma.OpenAPI {
	config := huma.DefaultConfig("Atoll admin API", a.Version)
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.Transformers = []huma.Transformer{problemTransformer}
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "a token of the default namespace with the role viewer, operator or admin"},
	}
	h := humago.New(mux, config)
	a.registerHealth(h)
	a.registerNamespaces(h)
	a.registerDeleted(h)
	a.registerTokens(h)
	a.registerNodes(h)
	a.registerInvites(h)
	a.registerGroups(h)
	a.registerCluster(h)
	a.registerAuthority(h)
	a.registerAudit(h)
	a.registerBackup(h)
	a.registerMetadataNodes(h)
	a.registerStreams(h)
	a.registerProfiles(mux)
	addExamples(h.OpenAPI())
	return h.OpenAPI()
}

// NewServer returns a server of the handler with its time-outs set; what net/http has to say goes to
// the log.
func NewServer(h http.Handler, log *slog.Logger) *http.Server {
	stop := make(chan struct{})
	s := &http.Server{
		Handler: h,
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), stoppingKey{}, stop)
		},
		ReadHeaderTimeout: headerWait,
		ReadTimeout:       requestWait,
		WriteTimeout:      replyWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.RegisterOnShutdown(sync.OnceFunc(func() { close(stop) }))
	return s
}

type stoppingKey struct{}

// stopping returns a channel that closes when the server of a request's context begins to stop: what would never end
// by itself ends then. Without such a server it is nil.
func stopping(ctx context.Context) <-chan struct{} {
	stop, _ := ctx.Value(stoppingKey{}).(chan struct{})
	return stop
}

// register adds one operation: its method and path, its id and what it does in a line.
func register[I, O any](h huma.API, method, path, id, summary string, f func(context.Context, *I) (*O, error)) {
	huma.Register(h, operation(method, path, id, summary), f)
}

// operation describes what all operations have in common.
func operation(method, path, id, summary string) huma.Operation {
	op := huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary,
		Errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusServiceUnavailable},
	}
	if secured(path) {
		op.Security = []map[string][]string{{"token": {}}}
		op.Errors = append(op.Errors, http.StatusForbidden)
		op.Description = "Takes a token of the role " + describeRole(id) + "."
		op.Middlewares = huma.Middlewares{requireRole(id)}
	}
	if method != http.MethodGet {
		op.Errors = append(op.Errors, http.StatusConflict, http.StatusPreconditionFailed, http.StatusGatewayTimeout)
	}
	return op
}

// propose makes a change in the caller's name.
func (a *api) propose(ctx context.Context, c raftfsm.Command, p ChangeParams) (raftfsm.Result, error) {
	result, err := a.Consensus.Propose(ctx, c, a.options(ctx, p))
	if err != nil {
		return result, a.changeProblem(err)
	}
	return result, nil
}

func (a *api) options(ctx context.Context, p ChangeParams) consensus.ProposeOptions {
	c := callerOf(ctx)
	o := consensus.ProposeOptions{Actor: c.tokenID, Source: c.source}
	if p.IdempotencyKey != "" {
		o.RequestID, o.Digest = requestID(p.IdempotencyKey), c.digest
	}
	return o
}

// requestID is what the log and the state keep of an Idempotency-Key: whoever has them must not get at the secrets
// that were made from it.
func requestID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "http:" + hex.EncodeToString(sum[:])
}

// change describes a change that has happened, after waiting for the data nodes if that was asked for.
func (a *api) change(ctx context.Context, result raftfsm.Result, p ChangeParams) adminapi.Change {
	change := adminapi.Change{Revision: result.Revision, Repeated: result.Repeated}
	if p.Wait == "" {
		return change
	}
	lag := a.Control.WaitApplied(ctx, result.Revision, time.Duration(p.WaitMs)*time.Millisecond)
	change.LaggingNodes, change.UnreachableNodes = lag.Nodes, lag.Unreachable
	return change
}

// stateAt returns a state that contains a change that has just been made.
func (a *api) stateAt(ctx context.Context, revision uint64) (*raftfsm.State, error) {
	if s := a.Consensus.State(); s.Applied() >= revision {
		return s, nil
	}
	s, err := a.Consensus.Read(ctx)
	if err != nil {
		return nil, a.changeProblem(errors.Join(consensus.ErrIndeterminate, err))
	}
	return s, nil
}
