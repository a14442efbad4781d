#!/bin/sh
# Regenerates atollpb from the .proto files. Needs protoc (Debian: protobuf-compiler); the two
# generators are tools of this module. Run as `go generate ./rpc`.
set -eu
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH="$bin:$PATH" protoc -I proto \
  --go_out=atollpb --go_opt=paths=source_relative \
  --go-grpc_out=atollpb --go-grpc_opt=paths=source_relative \
  proto/atoll/v1/*.proto
mv atollpb/atoll/v1/*.go atollpb/
rmdir -p atollpb/atoll/v1 2>/dev/null || true
