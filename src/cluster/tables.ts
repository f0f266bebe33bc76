/**
 * Tables by which nodes agree on a leader, know each other and send mail. `leader` has one row for good: an
 * election is a change of it. Mail is not logged: a crash of the database empties it, as any mailbox may be.
 */
export const clusterTables = `
create table leader (
  one boolean primary key default true check (one),
  term bigint not null,
  node text not null,
  home text not null,
  beat bigint not null,
  written bigint not null
);
insert into leader values (true, 0, '', '', 0, 0);

create table node (
  name text primary key,
  home text not null,
  run text not null,
  session bigint not null,
  state text not null check (state in ('present', 'left', 'lost')),
  beat bigint not null,
  url text not null,
  version text not null,
  gpus jsonb not null,
  max_loads integer not null
);

create unlogged table mail (
  id bigint generated always as identity primary key,
  to_node text not null,
  to_session bigint not null,
  from_run text not null,
  number bigint not null,
  term bigint,
  body text not null
);
create index mail_to on mail (to_node, id);
`
