package admin

import (
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atolldb/atoll/rpc/adminapi"
	"github.com/atolldb/atoll/rpc/audit"
)

// What stands for secrets in the examples.
const (
	exampleSecret    = "atoll_example-of-a-secret-that-nobody-has"
	exampleJoinToken = "example-of-a-join-token-that-nobody-has"
)

// example is what the description shows of one operation.
type example struct {
	request, response any // nil: there is none
}

// addExamples puts the examples into the description.
func addExamples(doc *huma.OpenAPI) {
	all := examples()
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Patch, path.Delete} {
			if op == nil {
				continue
			}
			e := all[op.OperationID]
			if op.RequestBody != nil {
				addExample(op.RequestBody.Content, e.request)
			}
			for status, response := range op.Responses {
				if strings.HasPrefix(status, "2") {
					addExample(response.Content, e.response)
				}
			}
		}
	}
}

func addExample(content map[string]*huma.MediaType, value any) {
	for _, media := range content {
		media.Example = value
	}
}

// examples returns the examples of every operation by its id: the same few records in all of them.
func examples() map[string]example {
	r := newExampleRecords()
	change := adminapi.Change{Revision: 57}
	late := adminapi.Change{Revision: 57, LaggingNodes: []string{"data-2"}, UnreachableNodes: []string{"data-2"}}
	created := adminapi.CreatedNamespace{Change: change, Namespace: r.bare, Token: &r.created}
	health := adminapi.Health{Status: "ok"}
	return map[string]example{
		"create-namespace": {adminapi.CreateNamespace{
			Name: r.bare.Name, Durability: r.bare.Durability, Labels: r.bare.Labels,
			Limits: map[string]adminapi.SetLimit{"keys": {Soft: 800, Hard: 1000}}, Token: &r.asked,
		}, created},
		"list-namespaces": {nil, adminapi.NamespaceList{Revision: 57, Namespaces: []adminapi.Namespace{r.bare}, Next: r.bare.Name}},
		"get-namespace":   {nil, r.namespace},
		"update-namespace": {adminapi.UpdateNamespace{
			Name: "acme-2", Durability: "local", Labels: map[string]*string{"env": new("test"), "team": nil},
			Limits: map[string]*adminapi.SetLimit{"keys": {Hard: 1000}, "bytes": nil}, Suspended: new(false), ReadOnly: new(true),
		}, adminapi.UpdatedNamespace{Change: change, Namespace: r.bare}},
		"delete-namespace":        {nil, adminapi.DeletedNamespaceReply{Change: late, Namespace: &r.deleted}},
		"list-deleted-namespaces": {nil, adminapi.DeletedNamespaceList{Revision: 57, Namespaces: []adminapi.DeletedNamespace{r.deleted}}},
		"get-deleted-namespace":   {nil, r.deleted},
		"undelete-namespace":      {adminapi.Undelete{Name: "acme-2", Token: &r.asked}, created},
		"purge-namespace":         {nil, adminapi.DeletedNamespaceReply{Change: change, Namespace: &r.tombstone}},

		"create-token": {r.asked, adminapi.CreatedTokenReply{Change: change, Token: r.created}},
		"list-tokens":  {nil, adminapi.TokenList{Revision: 57, Tokens: []adminapi.Token{r.token}}},
		"get-token":    {nil, r.token},
		"update-token": {
			adminapi.UpdateToken{Label: new("dashboards"), ExpiresAt: "2100-01-01T00:00:00Z"},
			adminapi.UpdatedToken{Change: change, Token: r.created.Token},
		},
		"rotate-token": {adminapi.RotateToken{OverlapMs: 3600000, Label: "dashboards"}, adminapi.CreatedTokenReply{Change: change, Token: r.created}},
		"revoke-token": {nil, late},

		"list-nodes":  {nil, adminapi.NodeList{Revision: 57, Nodes: []adminapi.Node{r.node}}},
		"get-node":    {nil, r.node},
		"remove-node": {nil, change},
		"create-invite": {
			adminapi.CreateInvite{Role: "data", TTLMs: 3600000, Uses: 1, NodeID: "data-2"},
			adminapi.CreatedInvite{Change: change, Invite: r.invite, JoinToken: exampleJoinToken},
		},
		"list-invites":  {nil, adminapi.InviteList{Revision: 57, Invites: []adminapi.Invite{r.invite}}},
		"delete-invite": {nil, change},
		"list-groups":   {nil, adminapi.GroupList{Revision: 57, Groups: []adminapi.Group{r.group}}},
		"promote":       {adminapi.Promote{Target: "data-2"}, adminapi.PromoteReply{Change: change, Group: r.group}},

		"get-cluster":          {nil, r.cluster},
		"get-authority":        {nil, r.authority},
		"begin-authority":      {nil, adminapi.ChangedAuthority{Change: change, Authority: r.authority}},
		"finish-authority":     {adminapi.FinishAuthority{Force: true}, adminapi.ChangedAuthority{Change: change, Authority: r.replaced}},
		"remove-metadata-node": {nil, change},
		"transfer-leadership":  {adminapi.Transfer{Target: "meta-2"}, change},
		"list-audit":           {nil, adminapi.AuditList{Revision: 57, Records: []audit.Record{r.audit}, Next: 57}},
		"events":               {nil, r.audit},
		"watch":                {nil, adminapi.StateChange{FromRevision: 56, Revision: 57, Namespaces: []adminapi.Namespace{r.bare}, RemovedTokens: []string{r.token.ID}}},
		"healthz":              {nil, health},
		"readyz":               {nil, health},
	}
}

// exampleRecords are what the examples are made of.
type exampleRecords struct {
	namespace, bare    adminapi.Namespace // with its use and without
	deleted, tombstone adminapi.DeletedNamespace
	asked              adminapi.CreateToken
	token              adminapi.Token
	created            adminapi.CreatedToken
	node               adminapi.Node
	invite             adminapi.Invite
	group              adminapi.Group
	cluster            adminapi.Cluster
	authority          adminapi.Authority // while it is being replaced
	replaced           adminapi.Authority
	audit              audit.Record
}

func newExampleRecords() (r exampleRecords) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	hour, year := at.Add(time.Hour), at.AddDate(70, 0, 0)
	r.bare = adminapi.Namespace{
		ID: 42, Name: "acme", State: adminapi.StateActive, Durability: "async", Labels: map[string]string{"env": "prod"},
		Limits: map[string]adminapi.Limit{"keys": {Soft: 800, Hard: 1000}}, CreatedAt: at, ModifiedAt: hour, ModifiedRevision: 57,
	}
	r.namespace = r.bare
	r.namespace.Usage = &adminapi.NamespaceUsage{
		Keys: new(uint64(850)), Bytes: new(uint64(123456)), Connections: 3, CommandsPerSecond: 120, InBytesPerSecond: 9000,
		OutBytesPerSecond: 64000, OverSoft: []string{"keys"},
	}
	r.deleted = adminapi.DeletedNamespace{ID: 42, Name: "acme", State: adminapi.StateInGrace, PurgeAt: &hour, WaitingFor: []string{}, ModifiedRevision: 57}
	r.tombstone = adminapi.DeletedNamespace{ID: 42, Name: "acme", State: adminapi.StateDeleted, DeletedRevision: 57, WaitingFor: []string{"data-1", "data-2"}, ModifiedRevision: 57}
	r.asked = adminapi.CreateToken{Role: "read-only", Label: "dashboards", ExpiresAt: &year}
	r.token = adminapi.Token{
		ID: "tok_2f6n4c5dbu7t3qkzq6m3h4a5wi", Namespace: "acme", Role: r.asked.Role, Label: r.asked.Label, CreatedAt: at, ExpiresAt: &year, ModifiedRevision: 57,
	}
	r.created = adminapi.CreatedToken{Token: r.token, Secret: exampleSecret}
	r.token.LastUsedAt, r.token.Connections = &hour, 2
	position := adminapi.Position{HistoryID: "0f8d2c4b6a1e3957", Epoch: 9, Index: 12345}
	r.node = adminapi.Node{
		ID: "data-1", Incarnation: "3c5a7e9b1d2f4068", RESPAddr: "192.0.2.1:6379", ClusterAddr: "192.0.2.1:7379", Version: "1.0.0", RegisteredAt: at,
		Group: 1, Role: "primary", Live: true, Report: &adminapi.NodeReport{
			AgeMs: 120, State: "serving", ViewRevision: 57, Written: position, SyncedIndex: 12340, CommitIndex: 12345, AppliedIndex: 12345, Keys: 850, Bytes: 123456,
		},
	}
	r.invite = adminapi.Invite{ID: "5f0c9a3e7b12d846", Role: "data", NodeID: "data-2", CreatedAt: at, ExpiresAt: hour, UsesMax: 1}
	r.group = adminapi.Group{
		ID: 1, Primary: "data-1", Replicas: []string{"data-2"}, InSync: []string{"data-1", "data-2"}, Epoch: position.Epoch, HistoryID: position.HistoryID,
		Promotion: &adminapi.Promotion{Target: "data-2", Revision: 57, BegunAt: hour}, ModifiedRevision: 57,
	}
	r.cluster = adminapi.Cluster{
		ClusterID: "8b1d3f5a7c9e2046", DefaultNamespaceID: 4, Revision: 57, NodeID: "meta-2", Role: "follower", Term: 3, LeaderID: "meta-1",
		LeaderAddr: "192.0.2.1:7379", CommitIndex: 57, Voters: []adminapi.Voter{{ID: "meta-1", ClusterAddr: "192.0.2.1:7379", HTTPAddr: "192.0.2.1:8379"}},
	}
	r.authority = adminapi.Authority{
		Revision: 57, Unrenewed: []string{"data-2"},
		Certificate: adminapi.AuthorityCert{SHA256: strings.Repeat("0f8d2c4b6a1e3957", 4), CreatedAt: at, NotAfter: year},
		Next:        &adminapi.AuthorityCert{SHA256: strings.Repeat("3c5a7e9b1d2f4068", 4), CreatedAt: hour, NotAfter: year},
		Nodes: []adminapi.AuthorityNode{
			{ID: "data-2", Roles: []string{"data"}, Certificate: adminapi.AuthorityCurrent}, {ID: "meta-1", Roles: []string{"meta"}, Certificate: adminapi.AuthorityNext},
		},
	}
	r.replaced = adminapi.Authority{
		Revision: 57, Unrenewed: []string{"data-2"}, Certificate: *r.authority.Next, Nodes: []adminapi.AuthorityNode{
			{ID: "data-2", Roles: []string{"data"}, Certificate: adminapi.AuthorityOlder}, {ID: "meta-1", Roles: []string{"meta"}, Certificate: adminapi.AuthorityCurrent},
		},
	}
	r.audit = audit.Record{
		Revision: 57, At: hour, Actor: r.token.ID, Source: "192.0.2.9:50123", Action: "update-namespace",
		Changes: []audit.FieldChange{{Record: "namespace", ID: "42", Field: "durability", Before: "async", After: "local"}},
	}
	r.audit.Hash = r.audit.Sum()
	return r
}
