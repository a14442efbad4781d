// Package adminapi is the vocabulary of the admin HTTP API under /v1: the JSON records that the
// metadata service answers, the problems that it refuses with, and a small client.
//
// Times are RFC 3339 in UTC. Revisions and indexes are numbers below 2^63. The tags doc, enum and the
// like become the API's OpenAPI description.
package adminapi

import "time"

// BodyBytesMax bounds a request's body.
const BodyBytesMax = 64 << 10

// IdempotencyKey is the header by which a retry has one effect. Its bounds are in bytes. A made secret can be had
// again with it, from its caller's token: keep it as secret as the token until the change has been answered.
const (
	IdempotencyKey         = "Idempotency-Key"
	IdempotencyKeyBytesMin = 16
	IdempotencyKeyBytesMax = 128
)

// IfMatch is the header by which a change is refused unless its subject is as the caller has seen it: it takes the
// ETag of an earlier answer, which is modified_revision in quotes.
const IfMatch = "If-Match"

// The bounds of a secret that a caller chooses, in bytes. The lower one is the default of the servers'
// secret-bytes-min.
const (
	SecretBytesMin = 16
	SecretBytesMax = 512
)

// Change is what every request that changes something answers.
type Change struct {
	Revision         uint64   `json:"revision" doc:"of the metadata state that contains the effect"`
	Repeated         bool     `json:"repeated,omitempty" doc:"an earlier request with the same Idempotency-Key had the effect"`
	LaggingNodes     []string `json:"lagging_nodes,omitempty" doc:"with wait=applied: every registered node that has not applied the revision in time"`
	UnreachableNodes []string `json:"unreachable_nodes,omitempty" doc:"those of lagging_nodes that have not reported recently: nothing waited for them"`
}

// Position is a place in a group's log.
type Position struct {
	HistoryID string `json:"history_id"`
	Epoch     uint64 `json:"epoch"`
	Index     uint64 `json:"index"`
}

// Node is one data node: its registration, and what it last reported to the leader.
type Node struct {
	ID           string      `json:"id"`
	Incarnation  string      `json:"incarnation" doc:"new for each wiped or first-started disk"`
	RESPAddr     string      `json:"resp_addr"`
	ClusterAddr  string      `json:"cluster_addr"`
	Version      string      `json:"version"`
	RegisteredAt time.Time   `json:"registered_at"`
	Group        uint32      `json:"group,omitempty"`
	Role         string      `json:"role,omitempty" doc:"primary or replica"`
	Live         bool        `json:"live" doc:"it has reported recently"`
	Report       *NodeReport `json:"report,omitempty" doc:"absent until the present leader has heard of the node"`
}

// NodeReport is a node's own word on what it holds.
type NodeReport struct {
	AgeMs        int64    `json:"age_ms" doc:"since the leader received it"`
	State        string   `json:"state" enum:"unknown,loading,syncing,serving,read-only"`
	Note         string   `json:"note,omitempty"`
	ViewRevision uint64   `json:"view_revision"`
	Written      Position `json:"written" doc:"end of its log"`
	SyncedIndex  uint64   `json:"synced_index"`
	CommitIndex  uint64   `json:"commit_index"`
	AppliedIndex uint64   `json:"applied_index"`
	Keys         uint64   `json:"keys"`
	Bytes        uint64   `json:"bytes"`
}

// NodeList is one page of the registered data nodes by id.
type NodeList struct {
	Revision uint64 `json:"revision"`
	Nodes    []Node `json:"nodes"`
	Next     string `json:"next,omitempty" doc:"pass as after to get the next page; empty on the last"`
}

// Group is the nodes that hold the same data.
type Group struct {
	ID               uint32     `json:"id"`
	Primary          string     `json:"primary" doc:"empty until the first node joins"`
	Replicas         []string   `json:"replicas"`
	InSync           []string   `json:"in_sync"`
	Epoch            uint64     `json:"epoch"`
	HistoryID        string     `json:"history_id"`
	Promotion        *Promotion `json:"promotion,omitempty" doc:"under way"`
	ModifiedRevision uint64     `json:"modified_revision"`
}

// Promotion is a planned change of the primary that is under way.
type Promotion struct {
	Target   string    `json:"target"`
	Revision uint64    `json:"revision"`
	BegunAt  time.Time `json:"begun_at"`
}

// GroupList is one page of the groups by id.
type GroupList struct {
	Revision uint64  `json:"revision"`
	Groups   []Group `json:"groups"`
	Next     string  `json:"next,omitempty" doc:"pass as after to get the next page; empty on the last"`
}

// Promote asks for another primary.
type Promote struct {
	Target     string `json:"target" doc:"node id of a replica"`
	AcceptLoss bool   `json:"accept_loss,omitempty" doc:"at once, without the primary: what the target has not applied is lost"`
}

// PromoteReply answers Promote. A planned promotion has then begun: follow the group until its
// promotion is absent.
type PromoteReply struct {
	Change
	Group Group `json:"group"`
}

// Cluster is the metadata service as the answering node sees it.
type Cluster struct {
	ClusterID          string  `json:"cluster_id"`
	DefaultNamespaceID uint64  `json:"default_namespace_id"`
	Revision           uint64  `json:"revision"`
	NodeID             string  `json:"node_id" doc:"of the metadata node that answers"`
	Role               string  `json:"role" doc:"of the metadata node that answers"`
	Term               uint64  `json:"term"`
	LeaderID           string  `json:"leader_id"`
	LeaderAddr         string  `json:"leader_addr"`
	CommitIndex        uint64  `json:"commit_index"`
	Voters             []Voter `json:"voters"`
}

// Voter is one voting metadata node.
type Voter struct {
	ID          string `json:"id"`
	ClusterAddr string `json:"cluster_addr"`
	HTTPAddr    string `json:"http_addr,omitempty"`
}

// Health is what /healthz and /readyz answer with status 200; otherwise they answer a Problem.
type Health struct {
	Status string `json:"status" doc:"ok"`
}

// Transfer asks for another leader of the metadata service.
type Transfer struct {
	Target string `json:"target,omitempty" doc:"id of the metadata node that is to lead; absent: any other" example:"meta-2"`
}
