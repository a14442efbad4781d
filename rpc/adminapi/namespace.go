package adminapi

import "time"

// Namespace is a tenant.
type Namespace struct {
	ID               uint64            `json:"id" doc:"never reused" example:"42"`
	Name             string            `json:"name" example:"acme"`
	State            string            `json:"state" enum:"active,suspended,in-grace" doc:"suspended: no session gets in, and none stays; in-grace: deleted, see deleted-namespaces"`
	Durability       string            `json:"durability" enum:"async,local"`
	Labels           map[string]string `json:"labels,omitempty" example:"{\"env\":\"prod\"}"`
	Limits           map[string]Limit  `json:"limits,omitempty" doc:"by name: keys, bytes, connections, commands_per_second, in_bytes_per_second, out_bytes_per_second, value_bytes; those of connections and rates hold on each node by itself" example:"{\"keys\":{\"soft\":800,\"hard\":1000}}"`
	ReadOnly         bool              `json:"read_only,omitempty" doc:"writes are refused"`
	CreatedAt        time.Time         `json:"created_at"`
	ModifiedAt       time.Time         `json:"modified_at"`
	ModifiedRevision uint64            `json:"modified_revision" doc:"in quotes it is the ETag"`
	Usage            *NamespaceUsage   `json:"usage,omitempty" doc:"only when one namespace is shown, or usage is asked for; absent until a live node has told of it"`
}

// The states of a namespace.
const (
	StateActive    = "active"
	StateSuspended = "suspended"
	StateInGrace   = "in-grace"
	StateDeleted   = "deleted"
)

// Limit bounds one thing that a namespace uses; 0 is no bound.
type Limit struct {
	Soft uint64 `json:"soft,omitempty" doc:"beyond it an event is noted; not above hard"`
	Hard uint64 `json:"hard,omitempty" doc:"beyond it what would use more is refused"`
}

// SetLimit is a limit in a change; null removes it.
type SetLimit struct {
	_    struct{} `nullable:"true"`
	Soft uint64   `json:"soft,omitempty" maximum:"9223372036854775807" doc:"0: none"`
	Hard uint64   `json:"hard,omitempty" maximum:"9223372036854775807" doc:"0: none"`
}

// NamespaceUsage is what the live nodes last told of a namespace's use.
type NamespaceUsage struct {
	Keys              *uint64  `json:"keys,omitempty" doc:"on the primary; absent while it is not live"`
	Bytes             *uint64  `json:"bytes,omitempty" doc:"of keys and values on the primary; absent while it is not live"`
	Connections       uint64   `json:"connections" doc:"of all live nodes, as the rates"`
	CommandsPerSecond uint64   `json:"commands_per_second" doc:"over a second"`
	InBytesPerSecond  uint64   `json:"in_bytes_per_second"`
	OutBytesPerSecond uint64   `json:"out_bytes_per_second"`
	Limited           uint64   `json:"limited" doc:"commands that a hard limit refused or delayed since the nodes' start"`
	OverSoft          []string `json:"over_soft,omitempty" doc:"limits whose soft bound some live node says it is beyond"`
}

// NamespaceList is one page of namespaces in the byte order of their names; those in grace come by id.
type NamespaceList struct {
	Revision   uint64      `json:"revision"`
	Namespaces []Namespace `json:"namespaces"`
	Next       string      `json:"next,omitempty" doc:"pass as after to get the next page; empty on the last"`
}

// CreateNamespace asks for a new namespace.
type CreateNamespace struct {
	Name       string              `json:"name" doc:"1 to 255 bytes of UTF-8 without spaces, control and format characters and '/', not '*' or 'default', not starting with __" example:"acme"`
	Durability string              `json:"durability,omitempty" doc:"async (default) or local" example:"async"`
	Labels     map[string]string   `json:"labels,omitempty" doc:"at most 64; a key has 1 to 63 bytes of letters, digits, '.', '_', '/' and '-', a value at most 255 bytes" example:"{\"env\":\"prod\"}"`
	Limits     map[string]SetLimit `json:"limits,omitempty" doc:"by name: keys, bytes, connections, commands_per_second, in_bytes_per_second, out_bytes_per_second, value_bytes" example:"{\"keys\":{\"soft\":800,\"hard\":1000}}"`
	Token      *CreateToken        `json:"token,omitempty" doc:"a first token, made with the namespace in one step"`
}

// CreatedNamespace answers CreateNamespace and Undelete.
type CreatedNamespace struct {
	Change
	Namespace Namespace     `json:"namespace"`
	Token     *CreatedToken `json:"token,omitempty"`
}

// UpdateNamespace changes settings of a namespace. What is absent stays.
type UpdateNamespace struct {
	Name       string               `json:"name,omitempty" doc:"a new name; not of the default namespace" example:"acme-2"`
	Durability string               `json:"durability,omitempty" doc:"async or local" example:"local"`
	Labels     map[string]*string   `json:"labels,omitempty" doc:"sets each; null removes it" example:"{\"env\":\"test\",\"team\":null}"`
	Limits     map[string]*SetLimit `json:"limits,omitempty" doc:"sets each, both bounds; null removes it" example:"{\"keys\":{\"hard\":1000},\"bytes\":null}"`
	Suspended  *bool                `json:"suspended,omitempty" doc:"not of the default namespace"`
	ReadOnly   *bool                `json:"read_only,omitempty" doc:"writes are refused"`
}

// UpdatedNamespace answers UpdateNamespace.
type UpdatedNamespace struct {
	Change
	Namespace Namespace `json:"namespace"`
}

// DeletedNamespace is a namespace in grace, which can be undeleted, or a tombstone, whose rows some node still has
// to purge.
type DeletedNamespace struct {
	ID               uint64     `json:"id" example:"42"`
	Name             string     `json:"name" doc:"free to be used again" example:"acme"`
	State            string     `json:"state" enum:"in-grace,deleted"`
	PurgeAt          *time.Time `json:"purge_at,omitempty" doc:"of one in grace: when its data is deleted"`
	DeletedRevision  uint64     `json:"deleted_revision,omitempty" doc:"of a tombstone"`
	WaitingFor       []string   `json:"waiting_for" doc:"of a tombstone: ids of nodes that have not reported the purge"`
	ModifiedRevision uint64     `json:"modified_revision" doc:"in quotes it is the ETag"`
}

// DeletedNamespaceList is one page of the namespaces in grace and the tombstones by id.
type DeletedNamespaceList struct {
	Revision   uint64             `json:"revision"`
	Namespaces []DeletedNamespace `json:"namespaces"`
	Next       string             `json:"next,omitempty" doc:"pass as after to get the next page; empty on the last"`
}

// DeletedNamespaceReply answers a deletion and a purge.
type DeletedNamespaceReply struct {
	Change
	Namespace *DeletedNamespace `json:"namespace,omitempty" doc:"absent when every node has purged it, or it was undeleted since"`
}

// Undelete asks for a deleted namespace back. Its old tokens stay revoked.
type Undelete struct {
	Name  string       `json:"name,omitempty" doc:"a new name; absent: the one that it had" example:"acme"`
	Token *CreateToken `json:"token,omitempty" doc:"a first token, made in the same step"`
}
