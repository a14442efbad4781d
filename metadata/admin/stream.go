package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/atollpb"
	"github.com/atolldb/atoll/rpc/audit"
)

const (
	// streamsMax bounds the streams of one metadata node.
	streamsMax = 256
	// streamHeartbeat is how long a stream says nothing. Then its token is looked at again.
	streamHeartbeat = 10 * time.Second
	// streamWait is how long a client may take to read one event.
	streamWait = 5 * time.Second
)

func (a *api) registerStreams(h huma.API) {
	stream(a, h, "/v1/watch", "watch", "Stream what changes: whole records, as server-sent events named change, reset and heartbeat", a.changes,
		adminapi.StateChange{})
	stream(a, h, "/v1/events", "events", "Stream who changes what: records of the audit, as server-sent events named audit, reset and heartbeat", a.audits,
		audit.Record{})
}

type streamInput struct {
	After       uint64 `query:"after" doc:"revision after which the stream begins; absent or 0: with what is to come"`
	LastEventID string `header:"Last-Event-ID" doc:"the id of the last event that was read: wins over after"`
}

// event is one server-sent event.
type event struct {
	name string
	id   uint64 // revision after which a stream would go on behind it; 0: none
	data any
}

// stream adds an operation that sends events. next returns those after a revision, and the revision up to which they
// tell everything; a reset among them ends the stream.
func stream[T any](a *api, h huma.API, path, id, summary string, next func(uint64) ([]event, uint64), example T) {
	schema := h.OpenAPI().Components.Schemas
	data := &huma.Schema{OneOf: []*huma.Schema{
		huma.SchemaFromType(schema, reflect.TypeOf(example)), huma.SchemaFromType(schema, reflect.TypeFor[adminapi.Reset]()), huma.SchemaFromType(schema, reflect.TypeFor[adminapi.Heartbeat]()),
	}}
	op := operation(http.MethodGet, path, id, summary)
	op.Errors = append(op.Errors, http.StatusTooManyRequests)
	op.Responses = map[string]*huma.Response{"200": {
		Description: "events without an end, of which data is one of these",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: data}},
	}}
	huma.Register(h, op, func(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
		after := in.After
		if in.LastEventID != "" {
			var err error
			if after, err = strconv.ParseUint(in.LastEventID, 10, 64); err != nil {
				return nil, a.problem(invalid("Last-Event-ID", "Last-Event-ID %q is no revision", in.LastEventID))
			}
		}
		select {
		case a.streams <- struct{}{}:
		default:
			return nil, newProblem(adminapi.CodeTooMuch, "this node has %d streams, the most that it takes: ask another metadata node", streamsMax)
		}
		if after == 0 {
			// This node may be behind what the caller has seen.
			after = max(a.Consensus.State().Revision(), callerOf(ctx).state.Revision())
		}
		return &huma.StreamResponse{Body: func(h huma.Context) {
			defer func() { <-a.streams }()
			a.serveStream(h, callerOf(ctx), after, next)
		}}, nil
	})
}

// serveStream sends events until the client leaves, the token ends, or the node stops.
func (a *api) serveStream(h huma.Context, c caller, after uint64, next func(uint64) ([]event, uint64)) {
	h.SetHeader("Content-Type", "text/event-stream")
	w, ok := h.BodyWriter().(http.ResponseWriter)
	if !ok {
		return // no other adaptor than net/http's is used
	}
	control := http.NewResponseController(w)
	for {
		changed := a.Consensus.Feed().Changed()
		events, to := next(after)
		if ending(h.Context()) || !a.holds(c) { // at each turn: changes may never pause
			return
		}
		if err := writeEvents(w, control, events); err != nil || len(events) > 0 && events[len(events)-1].name == "reset" {
			return
		}
		if after = to; len(events) > 0 {
			continue
		}
		timer := time.NewTimer(streamHeartbeat)
		select {
		case <-changed:
		case <-timer.C:
			if !a.holds(c) {
				return
			}
			beat := event{name: "heartbeat", data: adminapi.Heartbeat{Revision: a.Consensus.State().Revision()}}
			if writeEvents(w, control, []event{beat}) != nil {
				return
			}
		case <-stopping(h.Context()):
			timer.Stop()
			return
		case <-h.Context().Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// ending reports whether the client has left or the server begins to stop.
func ending(ctx context.Context) bool {
	select {
	case <-stopping(ctx):
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// holds reports whether a stream's token, as far as this node knows, is what it was.
func (a *api) holds(c caller) bool {
	state := a.Consensus.State()
	if state.Revision() < c.state.Revision() {
		return true // this node is behind: it may not have heard of the token yet
	}
	was, is := c.state.Token(c.tokenID), state.Token(c.tokenID)
	return is != nil && was != nil && is.Role == was.Role && is.NamespaceId == was.NamespaceId &&
		(is.ExpiresMs == 0 || is.ExpiresMs > a.Now().UnixMilli())
}

func writeEvents(w http.ResponseWriter, control *http.ResponseController, events []event) error {
	wait := func() error { return control.SetWriteDeadline(time.Now().Add(streamWait)) }
	if err := wait(); err != nil {
		return err
	}
	for _, e := range events {
		data, err := json.Marshal(e.data)
		if err != nil {
			return err
		}
		id := ""
		if e.id > 0 {
			id = fmt.Sprintf("id: %d\n", e.id)
		}
		if err := wait(); err != nil { // anew for each: what a client has missed may be megabytes
			return err
		}
		if _, err := fmt.Fprintf(w, "event: %s\n%sdata: %s\n\n", e.name, id, data); err != nil {
			return err
		}
	}
	return control.Flush() // the header, too, before there is an event
}

// changes are the deltas of the state.
func (a *api) changes(after uint64) ([]event, uint64) {
	deltas, ok := a.Consensus.Feed().Since(after)
	state := a.Consensus.State()
	if !ok {
		return []event{{"reset", 0, adminapi.Reset{Revision: state.Revision()}}}, after
	}
	var events []event
	for _, d := range deltas {
		events = append(events, event{"change", d.Revision, changeJSON(state, d)})
		after = d.Revision
	}
	return events, after
}

// changeJSON describes a delta. A token's namespace that is gone since has no name any more.
func changeJSON(state *raftfsm.State, d *atollpb.ViewFrame) adminapi.StateChange {
	out := adminapi.StateChange{
		FromRevision: d.FromRevision, Revision: d.Revision,
		RemovedNamespaces: d.RemovedNamespaces, RemovedTokens: d.RemovedTokens, RemovedNodes: d.RemovedNodes,
	}
	for _, n := range d.Namespaces {
		if n.State == atollpb.NamespaceState_NAMESPACE_STATE_ACTIVE {
			out.Namespaces = append(out.Namespaces, namespaceJSON(n))
		} else {
			out.RemovedNamespaces = append(out.RemovedNamespaces, n.Id)
		}
	}
	for _, t := range d.Tokens {
		out.Tokens = append(out.Tokens, tokenJSON(t, state.Namespace(t.NamespaceId).GetName()))
	}
	for _, n := range d.Nodes {
		out.Nodes = append(out.Nodes, nodeJSON(n))
	}
	for _, g := range d.Groups {
		out.Groups = append(out.Groups, groupJSON(g))
	}
	return out
}

// audits are the records of changes. Those in between that are gone make a reset.
func (a *api) audits(after uint64) ([]event, uint64) {
	state := a.Consensus.State()
	var events []event
	for r := range state.Audit(after) {
		if len(events) == 0 && missed(state, after, r) {
			return []event{{"reset", 0, adminapi.Reset{Revision: state.Revision()}}}, after
		}
		events = append(events, event{"audit", r.Revision, *r})
		after = r.Revision
	}
	return events, after
}

// missed reports whether records may be gone between a revision and the first record after it.
func missed(state *raftfsm.State, after uint64, first *audit.Record) bool {
	for oldest := range state.Audit(0) {
		return oldest.Revision > after && first.Previous != ""
	}
	return false
}
