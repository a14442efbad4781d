package command

import (
	"context"
	"time"

	"github.com/atolldb/atoll/datanode/store"
	"github.com/atolldb/atoll/datanode/tenant"
)

// Node is what the executor needs of the data node it runs in.
type Node interface {
	// Acquire returns what this node serves now, or ErrLoading (wrapped with the reason) before it has
	// a view and data. Every lease is released once.
	Acquire() (Lease, error)
	// WaitApplied returns when this node shows the effects of the entry of that index. No lease is held.
	WaitApplied(ctx context.Context, index uint64) error
	// Forward has the group's primary execute calls, in order, for a session of this replica, and
	// calls reply once for each. An error means that the calls without a reply may have been executed,
	// unless it is ErrNotForwarded.
	Forward(ctx context.Context, session ForwardSession, calls [][][]byte, reply func(ForwardReply)) error
	// Namespaces changes the namespaces through the metadata leader, and returns when this node has
	// applied the change, and every live node has or was named as late. After an error the change may
	// have been made, unless it is ErrNotForwarded.
	Namespaces(ctx context.Context, call NamespaceCall) (NamespaceResult, error)
	// Publish passes a message on to the other nodes of the group, as well as it can. It keeps nothing of it, and waits
	// for nobody. A lease may be held.
	Publish(m *Message)
	// Acks tells which of the replicas that follow have the entry of an index.
	Acks(index uint64) Acks
	// SyncLog fsyncs what this node's log holds. No lease is held.
	SyncLog() error
	// Save makes a save of this node's group. It returns once that has begun, or, if wait is set, once it has ended.
	// Errors are ErrSaving, and why nothing is saved. No lease is held.
	Save(ctx context.Context, wait bool) error
	// Saves tells of the node's saves. It may be called while a lease is held.
	Saves() Saves
	// Facts returns what INFO says about the node. It is called while a lease is held, so it acquires
	// none and enters no store.
	Facts() Facts
}

// Lease is one generation, entered (store.Enter), with a view that is not older than its data. Both stay
// readable until Release, which may wait for nothing: nobody waits while holding one.
type Lease interface {
	View() *tenant.View
	Store() *store.Store
	// Primary reports whether this node is the group's primary in View.
	Primary() bool
	// Newest returns the node's newest view, which may have come after View.
	Newest() *tenant.View
	Release()
}

// ForwardSession is what the primary must know of the session that a call comes from.
type ForwardSession struct {
	NamespaceID uint64
	TokenID     string // empty for an unauthenticated session of the default namespace
	DB          int
	Proto       int // 2 or 3
	MinRevision uint64
}

// ForwardReply is the primary's answer to one forwarded command.
type ForwardReply struct {
	RESP    []byte // in the session's protocol
	Index   uint64 // of the entry that the command was written in; 0 when it wrote nothing
	Refused string // why nothing was executed; empty when it was
}

// NamespaceOp is a change of the namespaces that RESP's NAMESPACE makes.
type NamespaceOp uint8

const (
	// NamespaceAdd creates a namespace with one read-write token.
	NamespaceAdd NamespaceOp = iota + 1
	// NamespaceSet replaces all tokens of a namespace by one.
	NamespaceSet
	// NamespaceDel deletes a namespace with its data.
	NamespaceDel
)

// NamespaceCall is one such change.
type NamespaceCall struct {
	Op        NamespaceOp
	Name      string
	TokenHash []byte // of the new token's secret, by tenant.View.HashSecret
	TokenID   string // that the session has authenticated with, for the audit
	Client    string // network address
}

// NamespaceStatus is what became of a NamespaceCall.
type NamespaceStatus uint8

const (
	// NamespaceOK says that the change was made.
	NamespaceOK NamespaceStatus = iota
	// NamespaceExists refuses a name that is taken.
	NamespaceExists
	// NamespaceTokenExists refuses a secret that is taken.
	NamespaceTokenExists
	// NamespaceNotFound says that no namespace has the name.
	NamespaceNotFound
	// NamespaceForbidden refuses to touch the default namespace.
	NamespaceForbidden
	// NamespaceInvalid refuses a field; the message names it and its bound.
	NamespaceInvalid
)

// NamespaceResult answers a NamespaceCall.
type NamespaceResult struct {
	Status  NamespaceStatus
	Message string
	Lagging []string // registered nodes that had not applied the change in time
}

// Acks is how many replicas have an entry.
type Acks struct {
	Primary     bool // else the rest says nothing
	Written     int
	Synced      int  // fsynced
	LocalSynced bool // on this node
	// Changed is closed when any of it may have changed.
	Changed <-chan struct{}
}

// Saves is what LASTSAVE and INFO say about a node's saves.
type Saves struct {
	Busy   bool
	Began  time.Time     // of the one that is being made
	Last   time.Time     // when the newest one was made; zero: there is none
	Failed bool          // the last attempt since the start
	Took   time.Duration // it took; negative: there was none
}

// Position is a place in the group's log.
type Position struct {
	History string
	Epoch   uint64
	Index   uint64
}

// Facts are a node's own, for INFO.
type Facts struct {
	NodeID      string
	Incarnation string
	RESPAddr    string
	ClusterAddr string
	State       string // serving, syncing, read-only ...
	Note        string // why, when there is something to say
	Damaged     bool   // damage was found since the start
	// ViewAge is how long ago the node last heard from the metadata service, or started.
	ViewAge      time.Duration
	Written      Position
	SyncedIndex  uint64
	CommitIndex  uint64
	AppliedIndex uint64
	// SourceUp says on a replica whether its stream from the primary is live.
	SourceUp bool
	// Syncing says whether a full sync is under way.
	Syncing bool
	// LagSeconds is how long ago a replica last heard from its primary.
	LagSeconds int64
	// Sinks are the replicas that follow this node.
	Sinks []SinkFacts
}

// SinkFacts describe one replica that follows this node.
type SinkFacts struct {
	NodeID       string
	RESPAddr     string
	AppliedIndex uint64
	LagSeconds   int64
}
