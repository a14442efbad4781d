// Package tenant is a data node's knowledge of the cluster: the view, which is the metadata at one
// revision, the file that keeps it, the client that follows the metadata nodes, and who may do what.
package tenant
