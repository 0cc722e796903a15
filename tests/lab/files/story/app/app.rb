# The story's app, as small as it can be: settings from .env.production, posts in Postgres, a Sidekiq job for each.
require "connection_pool"
require "pg"
require "sidekiq"
require "socket"

Redis.silence_deprecations = true
Redis.sadd_returns_boolean = false
ROOT = __dir__
HOST = Socket.gethostname

# Like dotenv: what the environment says already stands, so a process that restarts itself in place keeps what it had.
File.foreach("#{ROOT}/.env.production", chomp: true) do |line|
  key, value = line.split("=", 2)
  ENV[key] ||= value if value && !key.start_with?("#")
end

DATABASE = ConnectionPool.new(size: 5, timeout: 5) do
  PG.connect(
    host: ENV.fetch("DB_HOST"), port: ENV.fetch("DB_PORT"), dbname: ENV.fetch("DB_NAME"), user: ENV.fetch("DB_USER"),
    password: ENV.fetch("DB_PASS"), connect_timeout: 3, application_name: "#{ENV.fetch("PROCESS", "console")}@#{HOST}"
  )
end

# Like Rails: a connection is tried before it is used, and made anew if it is dead.
def query(sql, *values)
  DATABASE.with do |connection|
    begin
      connection.exec("")
    rescue PG::Error
      connection.reset
    end
    connection.exec_params(sql, values)
  end
end

Sidekiq.configure_client { |config| config.redis = { url: ENV.fetch("REDIS_URL") } }

# What a post leaves to do: one row per time that it was done. `work` is how many seconds it takes.
class PostJob
  include Sidekiq::Worker
  sidekiq_options retry: 5

  def perform(id, work = 0)
    sleep(work)
    query("INSERT INTO jobs_done (id, jid, host) VALUES ($1, $2, $3)", id, jid, HOST)
  end
end

class TickJob
  include Sidekiq::Worker
  sidekiq_options queue: "scheduler", retry: false

  def perform = query("INSERT INTO ticks (source, host) VALUES ('scheduler', $1)", HOST)
end

# Sidekiq would log every job twice.
class Silent
  def prepare(_job) = yield
  def call(_job, _queue) = yield
end

Sidekiq.configure_server do |config|
  config.options[:job_logger] = Silent
  config.redis = { url: ENV.fetch("REDIS_URL") }
  # The process that works the queue `scheduler` fills it too: there must be one of them.
  if Sidekiq.options[:queues].include?("scheduler")
    config.on(:startup) { $clock = Thread.new { loop { TickJob.perform_async rescue nil; sleep(5) } } }
    config.on(:quiet) { $clock.kill }
  end
end
