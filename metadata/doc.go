// Package metadata is the control plane of a process: it wires consensus, watch, control and admin, and
// serves the cluster's gRPC services and the admin HTTP API.
package metadata
