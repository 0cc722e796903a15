# As the app's own: `preload_app!` makes Puma refuse a phased restart (SIGUSR1) and restart in place instead.
directory "/srv/app"
environment "production"
bind "tcp://0.0.0.0:3000"
activate_control_app "unix:///run/mastodon-web/pumactl.sock", no_token: true
workers ENV.fetch("WEB_CONCURRENCY", "2").to_i
threads 5, 5
preload_app!
worker_timeout 60
