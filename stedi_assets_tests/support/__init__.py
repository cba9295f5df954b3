"""What tests share: small lakes, servers, an oracle, hostile inputs."""
