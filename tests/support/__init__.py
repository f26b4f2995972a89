"""What tests stand on: servers, a proxy that breaks requests, processes, logs and lakes."""
