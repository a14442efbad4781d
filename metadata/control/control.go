// Package control holds the leader's soft state about data nodes, their reports, and the controllers
// that act on it: planned promotions, and the purge of deleted namespaces.
package control

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atolldb/atoll/metadata/consensus"
	"github.com/atolldb/atoll/raftfsm"
	"github.com/atolldb/atoll/rpc/atollpb"
)

const (
	// LiveMax is the age up to which a report says that its node is live.
	LiveMax = 3 * time.Second
	// PromotionMax is how long a planned promotion may keep the primary from acknowledging writes.
	PromotionMax = 30 * time.Second

	tick         = time.Second
	pollInterval = 10 * time.Millisecond // of a follower that waits for the leader's reports
	noteBytesMax = 256
	purgeMax     = 1024 // tombstones that one command is about
)

// Config is what a Controller needs.
type Config struct {
	Node *consensus.Node
	Log  *slog.Logger
	// PromotionMax overrides the constant; 0 keeps it.
	PromotionMax time.Duration
}

// Report is the last report of a registered data node.
type Report struct {
	*atollpb.NodeReport               // only NodeId is set before the first one
	Age                 time.Duration // since the leader received it, or since it became leader
	Live                bool
}

// Controller keeps the reports on the leader, and answers for them on every node.
type Controller struct {
	config Config
	node   *consensus.Node
	log    *slog.Logger

	mu       sync.Mutex
	term     uint64 // that the rest belongs to
	since    time.Time
	reports  map[string]received
	reported chan struct{} // closed at the next report

	promotion      uint64 // revision of the one under way, as Run saw it
	promotionSince time.Time
	purgeRevision  uint64 // of the last state, as Run saw it, without a tombstone to drop
}

type received struct {
	report *atollpb.NodeReport // without uses
	at     time.Time
	uses   *uses
}

// New returns a controller; Run makes it act.
func New(config Config) *Controller {
	if config.PromotionMax == 0 {
		config.PromotionMax = PromotionMax
	}
	return &Controller{
		config: config, node: config.Node, log: config.Log,
		reports: map[string]received{}, reported: make(chan struct{}),
	}
}

// lead returns the term in which this node leads, with the soft state of that term. It takes mu.
func (c *Controller) lead() (uint64, bool) {
	term, ok := c.node.Leading()
	if !ok {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term != term {
		c.term, c.since, c.reports = term, time.Now(), map[string]received{}
	}
	return term, true
}

// HandleReport takes a data node's report, or hands it to the leader. It answers FailedPrecondition to a
// node that isn't registered with that incarnation, and Unavailable when there is no leader.
func (c *Controller) HandleReport(ctx context.Context, r *atollpb.ReportRequest) (*atollpb.ReportResponse, error) {
	if r.ClusterId != c.node.ClusterID() {
		return nil, status.Errorf(codes.FailedPrecondition, "node %q %v", r.Report.GetNodeId(), consensus.ErrForeign)
	}
	if _, ok := c.lead(); !ok {
		_, leader, err := c.node.LeaderClient()
		if err == nil && r.Forwarded { // two nodes that each take the other for the leader must not hand it to and fro
			err = consensus.ErrNoLeader
		}
		if err != nil {
			return nil, status.Error(codes.Unavailable, err.Error())
		}
		r.Forwarded = true
		return leader.Report(ctx, r)
	}
	state := c.node.State()
	if node := state.Node(r.Report.GetNodeId()); node == nil || node.Incarnation != r.Report.Incarnation {
		return nil, status.Errorf(codes.FailedPrecondition, "node %q is not registered with this incarnation", r.Report.GetNodeId())
	}
	if len(r.Report.Note) > noteBytesMax {
		r.Report.Note = strings.ToValidUTF8(r.Report.Note[:noteBytesMax], "")
	}
	c.mu.Lock()
	c.reports[r.Report.NodeId] = received{r.Report, time.Now(), c.takeUses(state, r.Report)}
	close(c.reported)
	c.reported = make(chan struct{})
	c.mu.Unlock()
	return &atollpb.ReportResponse{Revision: state.Revision()}, nil
}

// Reports returns the last report of every registered node, by id, without its uses.
func (c *Controller) Reports(ctx context.Context) ([]Report, error) {
	return c.reportsWith(ctx, &atollpb.ReportsRequest{})
}

// Uses returns the last report of every registered node, by id, with all that it has told of its uses of a
// namespace and of the namespace's tokens.
func (c *Controller) Uses(ctx context.Context, namespaceID uint64) ([]Report, error) {
	return c.reportsWith(ctx, &atollpb.ReportsRequest{NamespaceId: namespaceID})
}

// UsesOf is Uses for several namespaces, without what was told of tokens.
func (c *Controller) UsesOf(ctx context.Context, namespaceIDs []uint64) ([]Report, error) {
	return c.reportsWith(ctx, &atollpb.ReportsRequest{NamespaceIds: namespaceIDs})
}

func (c *Controller) reportsWith(ctx context.Context, r *atollpb.ReportsRequest) ([]Report, error) {
	if _, ok := c.lead(); ok {
		return c.here(r), nil
	}
	leader, _, err := c.node.LeaderClient()
	if err != nil {
		return nil, err
	}
	r.ClusterId = c.node.ClusterID()
	response, err := leader.Reports(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("ask the leader for reports: %w: %w", consensus.ErrNoLeader, err)
	}
	var reports []Report
	for _, e := range response.Entries {
		age := time.Duration(e.AgeMs) * time.Millisecond
		reports = append(reports, Report{e.Report, age, age <= LiveMax})
	}
	return reports, nil
}

// here returns the reports that this node, the leader, has. A node that has not reported to it yet counts
// as live until the leader is old enough to know better: else a wait for every live node would pass over
// all of them after a change of leader. They come with the uses that r asks for.
func (c *Controller) here(r *atollpb.ReportsRequest) []Report {
	state := c.node.State()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var reports []Report
	for node := range state.Nodes() {
		last, ok := c.reports[node.Id]
		if !ok || last.report.Incarnation != node.Incarnation {
			last = received{&atollpb.NodeReport{NodeId: node.Id, Incarnation: node.Incarnation}, c.since, nil}
		}
		age, report := now.Sub(last.at), last.report
		if last.uses != nil {
			report = last.uses.with(report, state, r)
		}
		reports = append(reports, Report{report, age, age <= LiveMax})
	}
	return reports
}

// HandleReports answers Consensus.Reports.
func (c *Controller) HandleReports(_ context.Context, r *atollpb.ReportsRequest) (*atollpb.ReportsResponse, error) {
	if r.ClusterId != c.node.ClusterID() {
		return nil, status.Error(codes.FailedPrecondition, consensus.ErrForeign.Error())
	}
	if _, ok := c.lead(); !ok {
		return nil, status.Error(codes.Unavailable, consensus.ErrNoLeader.Error())
	}
	response := &atollpb.ReportsResponse{}
	for _, report := range c.here(r) {
		response.Entries = append(response.Entries, &atollpb.ReportsResponse_Entry{
			Report: report.NodeReport, AgeMs: report.Age.Milliseconds(),
		})
	}
	return response, nil
}

// Lag names the registered nodes that have not applied a revision, as far as the leader has heard.
type Lag struct {
	Nodes       []string // every one of them
	Unreachable []string // those of them that are not live: they may act on the state before
}

// WaitApplied waits at most d for every live data node to report a view at or above a revision. Where
// nobody can say who has applied it, every registered node lags.
func (c *Controller) WaitApplied(ctx context.Context, revision uint64, d time.Duration) Lag {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		c.mu.Lock()
		reported := c.reported
		c.mu.Unlock()
		lag, err := c.lag(ctx, revision)
		if err == nil && len(lag.Nodes) == len(lag.Unreachable) {
			return lag
		}
		wait := tick
		if _, ok := c.node.Leading(); !ok {
			wait = pollInterval
		}
		poll := time.NewTimer(wait)
		select {
		case <-reported:
		case <-poll.C:
		case <-timer.C:
			poll.Stop()
			return lag
		case <-ctx.Done():
			poll.Stop()
			return lag
		}
		poll.Stop()
	}
}

func (c *Controller) lag(ctx context.Context, revision uint64) (lag Lag, err error) {
	reports, err := c.Reports(ctx)
	if err != nil {
		for node := range c.node.State().Nodes() {
			lag.Nodes = append(lag.Nodes, node.Id)
		}
		return lag, err
	}
	for _, r := range reports {
		if r.ViewRevision >= revision {
			continue
		}
		lag.Nodes = append(lag.Nodes, r.NodeId)
		if !r.Live {
			lag.Unreachable = append(lag.Unreachable, r.NodeId)
		}
	}
	return lag, nil
}

// Promote makes a replica the primary. Without acceptLoss it begins a planned promotion, which loses
// nothing and needs the present primary; the result's revision is that of its beginning. With acceptLoss
// a new history begins at once. The target has to be live and to hold the group's data in both cases.
func (c *Controller) Promote(ctx context.Context, target string, acceptLoss bool, o consensus.ProposeOptions) (raftfsm.Result, error) {
	state, err := c.node.Read(ctx)
	if err != nil {
		return raftfsm.Result{}, err
	}
	reports, err := c.Reports(ctx)
	if err != nil {
		return raftfsm.Result{}, err
	}
	group := state.Group(raftfsm.GroupID)
	if state.Node(target) != nil && group.GetPrimary() != target && !repeated(state, o) {
		if err := promotable(group, reports, target, acceptLoss); err != nil {
			return raftfsm.Result{}, err
		}
	}
	if acceptLoss {
		return c.node.Propose(ctx, &raftfsm.ForcePromotion{Target: target, NewHistoryID: newID()}, o)
	}
	return c.node.Propose(ctx, &raftfsm.BeginPromotion{Target: target}, o)
}

// repeated reports whether the state machine will answer from memory.
func repeated(state *raftfsm.State, o consensus.ProposeOptions) bool {
	_, ok := state.Recall(o.RequestID, o.Digest)
	return ok
}

// promotable checks what only reports can say; the state machine checks the rest.
func promotable(group *atollpb.Group, reports []Report, target string, acceptLoss bool) error {
	refuse := func(format string, args ...any) error {
		return &raftfsm.Error{Code: raftfsm.CodePrecondition, Field: "node", Message: fmt.Sprintf(format, args...)}
	}
	find := func(id string) Report {
		i := slices.IndexFunc(reports, func(r Report) bool { return r.NodeId == id })
		if i < 0 || !reports[i].Live || reports[i].State == atollpb.NodeState_NODE_STATE_UNSPECIFIED {
			return Report{}
		}
		return reports[i]
	}
	t := find(target)
	switch {
	case !t.Live:
		return refuse("node %q has not reported within %v: it can't be promoted", target, LiveMax)
	case t.State != atollpb.NodeState_NODE_STATE_SERVING:
		return refuse("node %q is not serving yet: it can't be promoted", target)
	case t.Written.GetHistoryId() != group.HistoryId:
		return refuse("node %q holds another history than the group's: it can't be promoted", target)
	case !acceptLoss && !find(group.Primary).Live:
		return refuse("the primary, node %q, has not reported within %v: promoting without it may lose acknowledged writes, which takes --accept-loss", group.Primary, LiveMax)
	}
	return nil
}

// newID returns 130 random bits in letters and digits.
func newID() string { return strings.ToLower(rand.Text()) }
